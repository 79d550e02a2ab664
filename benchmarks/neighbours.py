"""What a training on all cores loses beside busy programs, against its share of the machine.

    python benchmarks/neighbours.py [--neighbours 0 1 3] [--seconds 10] [--rounds 3]

A neighbour is a program that never waits. Sides take turns, each in a process of its own: threads
at a barrier that always spin (PyTorch as it is), that always sleep (OMP_WAIT_POLICY=passive), and
fdbench's, which sleep while processors are missed. The share of k neighbours beside t threads on t
cores is k / (t + k), if all are treated alike.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic

import torch
from pandas import DataFrame
from table import TABLES, show, write
from train import Case

from fdbench.machine import keep_freed, start_torch

SIDES = {"spinning": {}, "sleeping": {"OMP_WAIT_POLICY": "passive"}, "fdbench": {}}
_SETTLES = 4  # seconds before measuring: the watch looks every second


@contextmanager
def beside(count: int) -> Iterator[None]:
    """Busy programs, ended on the way out."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def one_side(side: str, seconds: float, iters: int) -> None:
    """Trains, and prints images a second; in a process of its own."""
    if side == "fdbench":
        start_torch("cpu", None)
    keep_freed()
    case = Case("r20", iters, torch.device("cpu"))
    step, began, steps = case.ours("fp32"), monotonic(), 0
    while monotonic() < began + _SETTLES:
        step()
    began = monotonic()
    while monotonic() < began + seconds:
        step()
        steps += 1
    sys.stdout.write(f"{128 * steps / (monotonic() - began)}\n")


def speed(side: str, given: argparse.Namespace) -> float:
    """Images a second of a side."""
    words = [sys.executable, __file__, "--side", side]
    words += ["--seconds", str(given.seconds), "--iters", str(given.iters)]
    env = {**os.environ, **SIDES[side]}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    return float(done.stdout)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A training beside busy programs.")
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 3])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iters", type=int, default=3, help="of the inner attack")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=TABLES / "neighbours.csv")
    return parser.parse_args()


def main() -> None:
    """Writes a line for each number of neighbours and side."""
    given = options()
    if given.side:
        one_side(given.side, given.seconds, given.iters)
        return
    lines, alone, cores = [], 0.0, os.cpu_count() or 1
    for count in given.neighbours:
        with beside(count):
            taken = [{side: speed(side, given) for side in SIDES} for _ in range(given.rounds)]
        for side in SIDES:
            images = median(one[side] for one in taken)
            alone = alone or images  # the first line's: spinning, with the fewest neighbours
            line = {
                "neighbours": count,
                "side": side,
                "images a second": round(images, 1),
                "of spinning alone": round(images / alone, 2),
                "share left": round(cores / (cores + count), 2),
                "rounds": given.rounds,
            }
            show(line)
            lines.append(line)
    write(DataFrame(lines), given.output, "cpu")


if __name__ == "__main__":
    main()
