"""How long `fdbench report` takes over many runs, and how much memory.

    python benchmarks/report.py [--runs 100] [--rows 50000] [--networks 10]

Makes runs in a temporary folder, each row with its check, and reports on them in a process of its
own. Every network has the same number of runs, under the same attack from other random starts, so
that every two are compared. Memory is that of the process and of those that it starts, each at its
peak (Linux, proc(5)).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pandas import DataFrame
from table import TABLES, show, write

from fdbench.specs import AttackSpec
from fdbench.store import DataInfo, ModelInfo, Row, RunFolder, RunInfo, Workspace, row_digest

BUDGETS = (10, 20, 50, 100)
CLASSES = 1000
LOOK_S = 0.1  # between two looks at the memory


def info(network: int, seed: int, rows: int) -> RunInfo:
    """The description of a finished run."""
    attack = {"attack": "pgd", "eps": 4 / 255, "targeted": True, "iters": list(BUDGETS)}
    return RunInfo(
        model=ModelInfo(f"net-{network:03}", f"net-{network:03}", weights=f"{network:064x}"),
        data=DataInfo("imagenet", "val", "f" * 16, classes=CLASSES, count=50_000),
        attack=AttackSpec.of(attack, "the benchmark"),
        seed=seed,
        precision="fp32",
        images=rows,
        limit=None,
        batch_size=50,
        environment={"device": "cpu"},
        command="fdbench attack pgd --iters 10,20,50,100 --data imagenet --data-dir imagenet "
        f"--split val --eps 4/255 --seed {seed} --batch-size 50 --model net-{network:03}",
    )


def row(image: int, label: int, breaks: int) -> Row:
    """An image of a targeted run that holds until iteration `breaks`."""
    target = (label + 1) % CLASSES
    falls = {str(b): breaks if breaks <= b else None for b in BUDGETS}
    return {
        "image": image,
        "label": label,
        "target": target,
        "clean": label if breaks else target,
        "pred": {budget: label if first is None else target for budget, first in falls.items()},
        "distance": 4 / 255,
        "first_wrong": falls[str(BUDGETS[-1])],
        "first_wrong_by": falls,
    }


def lines(run: RunInfo, network: int) -> Iterator[bytes]:
    """The lines of a run's rows."""
    rng = np.random.default_rng([network, run.seed])
    labels = np.random.default_rng(0).integers(CLASSES, size=run.images).tolist()
    breaks = rng.integers(200 + network, size=run.images).tolist()
    key = run.key
    for image, (label, first) in enumerate(zip(labels, breaks, strict=True)):
        one = row(image, label, first)
        yield json.dumps({**one, "check": row_digest(one, key)}).encode() + b"\n"


def make(results: Path, runs: int, rows: int, networks: int) -> int:
    """Writes the runs; returns the bytes of their rows."""
    size = 0
    for place in range(runs):
        seed, network = divmod(place, networks)
        run = info(network, seed, rows)
        with RunFolder.open(Workspace(results), run) as folder:
            path = folder.paths.rows(0)
        with path.open("wb") as file:
            file.writelines(lines(run, network))
        size += path.stat().st_size
    return size


def peak_mb(process: int) -> float:
    """The most resident memory of a process and of those it started, each at its own peak."""
    # Not getrusage's ru_maxrss: a process inherits that from the one that started it.
    try:
        status = Path(f"/proc/{process}/status").read_text().splitlines()
        own = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except (OSError, StopIteration):  # it has ended
        return 0.0
    return own / 1024 + sum(peak_mb(int(one)) for one in children)


def report(results: Path) -> dict[str, float]:
    """Seconds and memory of one report."""
    command = [sys.executable, "-m", "fdbench", "report", "--results", str(results)]
    began, most = time.perf_counter(), 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        most = max(most, peak_mb(process.pid))
        time.sleep(LOOK_S)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"the report failed: {process.returncode}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(seconds, 1),
        "core seconds": round(used.ru_utime + used.ru_stime, 1),
        "MB": round(most),
    }


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Time and memory of `fdbench report`.")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--networks", type=int, default=10)
    parser.add_argument("--output", type=Path, default=TABLES / "report.csv")
    return parser.parse_args()


def main() -> None:
    """Writes one line."""
    given = options()
    with tempfile.TemporaryDirectory() as folder:
        size = make(Path(folder), given.runs, given.rows, given.networks)
        made = {"runs": given.runs, "rows": given.rows, "networks": given.networks}
        line = {**made, "MB on the disk": round(size / 2**20), **report(Path(folder))}
    show(line)
    write(DataFrame([line]), given.output, "cpu")


if __name__ == "__main__":
    main()
