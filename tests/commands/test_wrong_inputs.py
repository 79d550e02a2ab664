"""Wrong inputs: each gets one message and an exit code, writes nothing, and shows no traceback.

The inputs are the lines of wrong_inputs.txt; what they print is docs/wrong_inputs.md, written by
`python tests/commands/test_wrong_inputs.py`.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from click.testing import CliRunner, Result

from fdbench.commands import main

INPUTS = Path(__file__).with_name("wrong_inputs.txt").read_text().splitlines()
TABLE = Path(__file__).parents[2] / "docs" / "wrong_inputs.md"
NET = """
import torch
from torch import nn
def load(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 10))
def narrow(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 4))
def raises(): return nn.Linear(5, 10)
def fails(): raise ValueError("no weights")
def pair(): return load(), 3
number = 7
"""


def write_files(folder: Path) -> None:
    """Writes the files that the inputs name."""
    (folder / "net.py").write_text(NET)
    (folder / "text.pt").write_text("not weights")
    (folder / "empty.safetensors").write_bytes(b"")
    torch.save({"fc.weight": torch.zeros(10, 4)}, folder / "state.pt")
    for name in ("empty", "one/a", "noimages/a", "noimages/b", "damaged"):
        (folder / name).mkdir(parents=True)
    (folder / "damaged" / "run.json").write_text("{")
    for name in ("a", "b"):
        (folder / "noimages" / name / "x.txt").write_text("")
    x, y = np.zeros((4, 28, 28, 3), np.uint8), np.arange(4)
    np.savez(folder / "keys.npz", a=x, b=y)
    np.savez(folder / "shape.npz", x=x[0], y=y)
    np.savez(folder / "normalised.npz", x=x.astype(np.float32) - 1, y=y)
    np.savez(folder / "labels.npz", x=x, y=y - 1)
    np.savez(folder / "textlabels.npz", x=x, y=y.astype(str))


@contextlib.contextmanager
def a_folder() -> Iterator[Path]:
    """Makes a folder with the files, and works in it."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        folder = Path(name)
        write_files(folder)
        yield folder


@contextlib.contextmanager
def without(*packages: str) -> Iterator[None]:
    """Makes packages fail to import; other modules stay as they are."""
    kept = {name: sys.modules[name] for name in packages if name in sys.modules}
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in packages:
            del sys.modules[name]
        sys.modules.update(kept)


def run(line: str) -> Result:
    return CliRunner().invoke(main, line.split(), prog_name="fdbench")


def first_line(result: Result, folder: Path) -> str:
    lines = [one for one in result.stderr.splitlines() if one.startswith("Error:")]
    text = lines[0] if lines else (result.stderr or result.stdout).splitlines()[0]
    return text.replace(str(folder.resolve()), ".").replace("|", "\\|")


def ran() -> list[tuple[str, str, int, list[str]]]:
    """Returns for each input its first line, exit code, and the files it left."""
    rows = []
    # Names of timm are proposed where it is installed; the table is of an environment without.
    with (
        a_folder() as folder,
        without("timm", "huggingface_hub"),
    ):
        before = set(folder.rglob("*"))
        for line in INPUTS:
            result = run(line)
            assert isinstance(result.exception, SystemExit), (line, result.exception)
            assert "Traceback" not in result.output, line
            new = [str(one) for one in set(folder.rglob("*")) - before]
            left = [one for one in new if "__pycache__" not in one]
            rows.append((line, first_line(result, folder), result.exit_code, left))
    return rows


def table(rows: list[tuple[str, str, int, list[str]]]) -> str:
    head = "# Wrong inputs\n\nEach in a folder with the files that it names.\n\n"
    head += "| input | first line printed | exit code |\n|:--|:--|--:|\n"
    return head + "".join(
        f"| `fdbench {line}` | {text} | {code} |\n" for line, text, code, _ in rows
    )


def test_wrong_inputs_get_the_messages_of_the_committed_table_and_write_nothing() -> None:
    rows = ran()
    assert len(rows) >= 110
    for line, _, code, left in rows:
        assert code in (1, 2), line
        assert not left, (line, left)
    assert table(rows) == TABLE.read_text()


if __name__ == "__main__":
    os.environ.pop("COLUMNS", None)
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table(ran()))
    sys.stdout.write(f"{TABLE}\n")
