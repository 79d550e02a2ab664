"""examples/plugin adds to fdbench by entry points alone, and all it adds works when typed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
Shell = Callable[..., str]

# One process runs all lines, so that PyTorch is loaded once; each line is what a user types.
RUN = """
import sys
from fdbench.cli import main
for line in sys.argv[1:]:
    main(line.split(), standalone_mode=False)
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs command lines where examples/plugin is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    source = ROOT / "examples" / "plugin"
    subprocess.run([*pip, "--no-index", "--target", folder / "site", source], check=True)
    environment = {**os.environ, "PYTHONPATH": str(folder / "site")}

    def run(*lines: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", RUN, *lines],
            check=True, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
        ).stdout  # fmt: skip

    return run


@pytest.mark.parametrize(
    ("listing", "name"),
    [
        ("list attacks", "corners"),
        ("list attacks", "extras"),
        ("list data", "stripes"),
        ("list models", "r20-binomial"),
        ("list models", "grey-mean"),
        ("attack pgd --help", "logit"),
        ("attack pgd --help", "rms"),
        ("attack corners --help", "--tries"),
        ("train --help", "binomial"),
    ],
)
def test_a_package_adds_to_what_the_command_line_offers(
    shell: Shell, listing: str, name: str
) -> None:
    assert name in shell(listing)


def test_all_that_a_package_adds_is_used_from_the_command_line(shell: Shell) -> None:
    threads = "--threads 1"
    train = "train --arch r20 --denoise binomial --data stripes --epochs 1 --attack-iters 1"
    limit = f"--limit 12 --data stripes {threads}"
    shell(
        f"{train} --width 2 --norm rms --eps 0.02 --alpha 0.02 --name small {threads}",
        f"attack corners --tries 3 {limit}",
        f"attack pgd --loss logit --norm rms --eps 0.02 --iters 2 {limit}",
        f"attack suite extras --model small --model grey-mean {limit}",
    )
    tables = json.loads(shell("report --format json"))
    lines = tables["whitebox"]
    assert {line["attack"] for line in lines} == {"corners", "pgd"}
    assert {line["loss"] for line in lines} == {"logit", None}
    assert {line["norm"] for line in lines} == {"linf", "rms"}
    assert {line["model"] for line in lines} == {"small", "grey-mean"}
    assert all(line["n"] == 12 for line in lines)
