"""Both ways to add to fdbench in CONTRIBUTING: a package with entry points, and a checkout.

The same files take both ways, and the same command lines use them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
PLUGIN = ROOT / "examples" / "plugin"
Shell = Callable[..., str]

# One process runs all lines, so that PyTorch is loaded once; each line is what a user types.
RUN = """
import sys
from fdbench.commands import main
for line in sys.argv[1:]:
    main(line.split(), standalone_mode=False)
"""

# From inside: what is added, where its file goes, and the line of the package's catalogue.
ADDITIONS = [
    ("attack", "attacks", "ATTACKS", '"corners": lambda: attacks.CORNERS,', "CORNERS"),
    ("loss", "attacks", "LOSSES", '"logit": lambda: attacks.logit,', "logit"),
    ("norm", "threat", "NORMS", '"rms": lambda: threat.RMS,', "RMS"),
    ("denoiser", "models", "DENOISERS", '"binomial": lambda: models.Binomial,', "Binomial"),
    ("data", "data", "DATA", '"stripes": lambda: data.STRIPES,', "STRIPES"),
    ("network", "models", "OFFERED", '"grey-mean": lambda: models.grey_mean,', "grey_mean"),
]


def install(folder: Path) -> Path:
    """examples/plugin as a user installs it; its dependencies are here already."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--no-index", "--target", folder / "site", PLUGIN], check=True)
    return folder / "site"


def add_to_checkout(folder: Path) -> Path:
    """A checkout with the plugin's files: a line in a catalogue and one in a door for each."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("fdbench", "models", "attacks"):
        shutil.copytree(ROOT / name, folder / "checkout" / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder / "checkout")
    source = PLUGIN / "fdbench_extras"
    for file, package, registry, line, name in ADDITIONS:
        room = folder / "checkout" / "fdbench" / package
        shutil.copy(source / f"{file}.py", room / f"extra_{file}.py")
        catalogue, door = room / "catalogue.py", room / "__init__.pyi"
        head, found, table = catalogue.read_text().partition(f"\n{registry}: ")
        assert found
        table = table.replace("built_in={", f"built_in={{\n        {line}\n", 1)
        catalogue.write_text(head + found + table)
        door.write_text(f"from .extra_{file} import {name} as {name}\n{door.read_text()}")
    for kind in ("models", "attacks"):
        shutil.copytree(source / kind, folder / "checkout" / kind, dirs_exist_ok=True)
    return folder / "checkout"


@pytest.fixture(scope="module", params=[install, add_to_checkout])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs command lines where the additions are."""
    folder = tmp_path_factory.mktemp("additions")
    environment = {**os.environ, "PYTHONPATH": str(request.param(folder))}

    def run(*lines: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", RUN, *lines],
            check=True, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
        ).stdout  # fmt: skip

    return run


def test_the_command_line_offers_and_runs_what_is_added(shell: Shell, tmp_path: Path) -> None:
    threads = "--threads 1"
    train = "train --arch r20 --denoise binomial --data stripes --epochs 1 --attack-iters 1"
    limit = f"--limit 12 --data stripes {threads} --results {tmp_path}"
    text = shell(
        "list attacks",
        "list data",
        "list models",
        "attack pgd --help",
        "attack corners --help",
        "train --help",
        f"{train} --width 2 --norm rms --eps 0.02 --alpha 0.02 --name small {threads} "
        f"--results {tmp_path}",
        f"attack corners --tries 3 {limit}",
        f"attack pgd --loss logit --norm rms --eps 0.02 --iters 2 {limit}",
        f"attack suite extras --model small --model grey-mean {limit}",
        f"report --results {tmp_path}",
    )
    for name in ("corners", "extras", "stripes", "r20-binomial", "grey-mean"):
        assert f"\n{name} " in text, "listed"
    for word in ("logit", "rms", "--tries", "binomial"):
        assert word in text, "in the help"
    lines = pd.read_csv(tmp_path / "whitebox.csv")
    assert set(lines["attack"]) == {"corners (tries 3)", "corners (tries 5)", "pgd"}
    assert set(lines["loss"].dropna()) == {"logit"}
    assert set(lines["norm"]) == {"linf", "rms"}
    assert set(lines["model"]) == {"small", "grey-mean"}
    assert set(lines["n"]) == {12}
