"""How near PGD comes to its limit: only the network's forward pass and input gradient.

    python benchmarks/limit.py [--iters 50] [--rounds 5] [--networks r20 r18 r50] [--device cuda]

Both sides go through the same accelerated network, in the same precision, on the same images. PGD
has its judge: every image is right at first and most break, so each goes through the original
float32 network at least once, as in a real run. Bare loop and attack take turns, so that a slow
moment of the machine affects both; medians count. Memory is the peak of a separate process that
does a few iterations, minus what it held before.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from pandas import DataFrame
from peak import peak_mb
from table import TABLES, show, write
from torch import nn

from fdbench.attacks import LOSSES, random_start, trajectory
from fdbench.console import out
from fdbench.errors import FdbenchError
from fdbench.machine import keep_freed
from fdbench.models import accelerate, build
from fdbench.specs import ModelSpec
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels
from fdbench.verdict import Referee, predict

NETWORKS = {  # the specification and the images in a batch
    "r20": (ModelSpec("r20", classes=10, px=32), 128),
    "r18": (ModelSpec("r18", classes=10, px=32), 128),  # width 64, its own
    "r50": (ModelSpec("r50"), 16),
}
PRECISIONS = ("fp32", "bf16")
THREAT = Threat("linf", 8 / 255)
MEMORY_ITERS = 5  # enough for the judge to see the whole batch


@dataclass(frozen=True)
class Case:
    """One network in one precision on one device."""

    network: str
    precision: str
    batch: int
    device: str

    def sides(self) -> dict[str, Callable[[int], None]]:
        """The two sides, each a function of the number of iterations."""
        spec, _ = NETWORKS[self.network]
        net = build(spec, device=self.device).eval().requires_grad_(False)
        rng = torch.Generator().manual_seed(0)
        x = torch.rand((self.batch, 3, spec.px, spec.px), generator=rng).to(self.device)
        batch = Batch(x, predict(net, x), tuple(range(self.batch)))
        fast, why_not = accelerate(net, x[:2], self.precision)
        if why_not:
            raise FdbenchError(why_not)
        return {
            "bare": lambda iters: bare(fast, batch.x, batch.label, iters),
            "fdbench": lambda iters: attack(fast, net, batch, iters),
        }


def bare(net: nn.Module, x: Images, label: Labels, iters: int) -> None:
    """The passes that every gradient attack needs."""
    for _ in range(iters):
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(net(leaf), label, reduction="sum"), leaf)


def attack(net: nn.Module, original: nn.Module, batch: Batch, iters: int) -> None:
    """PGD on `net`, judged by `original`."""
    trajectory(
        net,
        batch.x,
        batch.label,
        THREAT,
        budgets=[iters],
        alpha=THREAT.eps / 4,
        start=random_start(batch.ids, batch.x, THREAT, "start-0", 0),
        loss=LOSSES["ce"],
        judge=Referee(original, batch, THREAT),
    )


def seconds(run: Callable[[int], None], iters: int, device: str) -> float:
    """How long `iters` iterations take, to the end of the device's work."""
    began = time.perf_counter()
    run(iters)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def times(case: Case, iters: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of an iteration of each side; they take turns."""
    sides = case.sides()
    for run in sides.values():
        run(2)  # chooses kernels
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            taken[name].append(1000 * seconds(run, iters, case.device) / iters)
    return {name: median(values) for name, values in taken.items()}


def memory(case: Case, side: str) -> float:
    """MB that a few iterations take, in a process of their own."""
    command = [sys.executable, __file__, "--memory-of", side, "--networks", case.network]
    command += ["--precisions", case.precision, "--batch", str(case.batch)]
    command += ["--device", case.device]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def measure(case: Case, iters: int, rounds: int) -> dict[str, str | int | float]:
    """A line of the table."""
    used = {side: memory(case, side) for side in ("bare", "fdbench")}
    ms = times(case, iters, rounds)
    return {
        "network": case.network,
        "px": NETWORKS[case.network][0].px,
        "precision": case.precision,
        "batch": case.batch,
        "iters": iters,
        "rounds": rounds,
        "bare ms": round(ms["bare"], 3),  # per iteration of the batch
        "fdbench ms": round(ms["fdbench"], 3),
        "of the limit": round(ms["bare"] / ms["fdbench"], 3),
        "bare MB": round(used["bare"], 1),
        "fdbench MB": round(used["fdbench"], 1),
        "MB ratio": round(used["fdbench"] / used["bare"], 3),
    }


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="PGD against bare forward and input gradient.")
    parser.add_argument("--iters", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--batch", type=int, help="images in a batch; else each network's own")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=TABLES / "limit.csv")
    parser.add_argument("--memory-of", choices=("bare", "fdbench"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Writes a line for each network and precision."""
    given = options()
    keep_freed()  # as every command does
    cases = [
        Case(network, precision, given.batch or NETWORKS[network][1], given.device)
        for network in given.networks
        for precision in given.precisions
    ]
    if given.memory_of:
        run = cases[0].sides()[given.memory_of]
        out.print(peak_mb(lambda: run(MEMORY_ITERS), given.device))
        return
    lines = []
    for case in cases:
        lines.append(measure(case, given.iters, given.rounds))
        show(lines[-1])
    write(DataFrame(lines), given.output, given.device)


if __name__ == "__main__":
    main()
