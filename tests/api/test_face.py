"""The face in Python: what is documented is there, and every example in a docstring runs."""

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Small, frozen

import fdbench
from fdbench.store import Workspace
from fdbench.types import Batch

FUNCTIONS = [name for name in fdbench.__all__ if inspect.isfunction(getattr(fdbench, name))]


def sections(function: str) -> dict[str, str]:
    """The Google-style sections of a docstring by heading."""
    text = inspect.cleandoc(getattr(fdbench, function).__doc__)
    parts = re.split(r"^(Args|Returns|Raises|Example):$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_docstrings_describe_every_argument(function: str) -> None:
    documented = sections(function)
    assert set(documented) == {"Args", "Returns", "Raises", "Example"}
    names = re.findall(r"^    (\w+):", documented["Args"], flags=re.MULTILINE)
    assert names == list(inspect.signature(getattr(fdbench, function)).parameters)


def photos(folder: Path) -> None:
    """A data set of random pixels, as `npz:` reads it."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        x = rng.integers(0, 256, (200, 8, 8, 3), dtype=np.uint8)
        np.savez(folder / f"{part}.npz", x=x, y=np.arange(200) % 5)


MY_NETS = """
from conftest import Small, frozen

def small():
    return frozen(Small(classes=10))
"""


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_example_in_a_docstring_runs(
    function: str, batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mynets.py").write_text(MY_NETS)
    photos(tmp_path / "photos")
    net = frozen(Small(classes=10))
    names = {"fdbench": fdbench, "net": net, "x": batch.x, "labels": batch.label}
    text = sections(function)["Example"]
    example = doctest.DocTestParser().get_doctest(text, names, function, None, None)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def test_importing_the_face_loads_no_torch() -> None:
    code = "import fdbench, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_not_public_is_not_offered() -> None:
    with pytest.raises(AttributeError, match="run_attack"):
        fdbench.run_attack  # type: ignore[attr-defined]  # noqa: B018
    assert set(dir(fdbench)) >= set(fdbench.__all__)


def test_results_may_be_a_path_or_its_text(tmp_path: Path) -> None:
    assert fdbench.read_runs(tmp_path).empty
    assert fdbench.read_runs(str(tmp_path)).empty
    assert not Workspace(tmp_path).runs.exists()
