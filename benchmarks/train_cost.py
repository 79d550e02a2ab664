"""How the cost of adversarial training grows with attack steps, image size and processes.

    python benchmarks/train_cost.py [--network r20] [--rounds 3]

CPU seconds per image of a training step as `fdbench train` takes it (PGD, the learning pass, the
optimiser), the processes' own, so that other programs do not count as such; the least of the
rounds. The line: what two attack lengths, the smallest image (with its pixels) and one process
predict. `of the line` says where growth leaves it: above 1 it costs more than predicted. Above
64 px fdbench's networks begin with the stem of ImageNet, and are others.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from noise import noise
from pandas import DataFrame
from table import TABLES, show, write

from fdbench.data import Dataset
from fdbench.machine import keep_freed
from fdbench.specs import ModelSpec, TrainSpec
from fdbench.store import Workspace
from fdbench.training import Training, learner_for
from fdbench.training.loop import learn
from fdbench.training.state import Position
from fdbench.training.team import team_on

ITERS = (1, 5, 10, 30)
SIZES = (16, 32, 64, 128)
PROCESSES = (1, 2)
PIXELS = 64 * 32 * 32  # of a batch, whatever the size of an image
EPS, ALPHA = 8 / 255, 2 / 255
CPU = torch.device("cpu")
Line = dict[str, str | int | float]


@dataclass(frozen=True)
class Case:
    """A training whose steps are timed."""

    network: str
    rounds: int
    precision: str = "fp32"
    iters: int = 10
    px: int = 32
    processes: int = 1

    @property
    def batch(self) -> int:
        """Images of a step, of all processes together."""
        return PIXELS // self.px**2

    def data(self) -> Dataset:
        """A few batches of noise."""
        return noise(2 * self.batch + 24, self.px)

    def training(self) -> Training:
        """Its settings: PGD, untargeted, from a random start."""
        spec = TrainSpec(
            batch_size=self.batch, attack_iters=self.iters, eps=EPS, alpha=ALPHA, targeted=False,
            clean_start=0.0, augment=False, lr=1e-4,
            precision=self.precision, attack_precision=self.precision,
        )  # fmt: skip
        model, data = ModelSpec(self.network, classes=10, px=self.px), self.data()
        return Training("it", model, spec, data, data, Workspace(Path("nowhere")), CPU)


def steps(case: Case) -> list[float]:
    """CPU seconds of each step in this process of a team."""
    torch.set_num_threads(1)
    keep_freed()  # as every command does
    with team_on(CPU) as team:
        learner, taken = learner_for(case.training()), []
        learner.join(team)
        pieces = next(learner.loader.pieces(0, 0, team, 1))
        for _ in range(case.rounds + 1):
            began = time.process_time()
            learn(learner, [pieces], Position(), lambda: None, team)
            taken.append(time.process_time() - began)
    return taken[1:]  # the first chooses kernels, and folds


def _rank(env: dict[str, str], answers: Connection, case: Case) -> None:
    os.environ.update(env)
    answers.send(steps(case))


def seconds(case: Case) -> float:
    """CPU seconds of a step, of all processes together: the least of the rounds."""
    spawn = get_context("spawn")
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "OMP_NUM_THREADS": "1"}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": str(case.processes)}
    started = []
    for rank in range(case.processes):
        here, there = spawn.Pipe()
        process = spawn.Process(target=_rank, args=({**shared, "RANK": str(rank)}, there, case))
        process.start()
        there.close()
        started.append((process, here))
    taken = [here.recv() for _, here in started]
    for process, _ in started:
        process.join()
    return min(map(sum, zip(*taken, strict=True)))


def grown(
    what: str, cases: Sequence[Case], predicted: Callable[[Case, Sequence[float]], float]
) -> Iterator[Line]:
    """A line for each case: measured, and predicted from the first ones."""
    each = [seconds(case) / case.batch for case in cases]
    for case, one in zip(cases, each, strict=True):
        line: dict[str, Any] = {
            "grows": what,
            "network": case.network,
            "precision": case.precision,
            "iters": case.iters,
            "px": case.px,
            "processes": case.processes,
            "batch": case.batch,
            "rounds": case.rounds,
            "CPU ms an image": round(1000 * one, 3),
            "of the line": round(one / predicted(case, each), 3),
        }
        show(line)
        yield line


def by_iters(case: Case, each: Sequence[float]) -> float:
    """The straight line through the two shortest attacks."""
    slope = (each[1] - each[0]) / (ITERS[1] - ITERS[0])
    return each[0] + slope * (case.iters - ITERS[0])


def by_pixels(case: Case, each: Sequence[float]) -> float:
    """In proportion to the pixels of the smallest image."""
    return each[0] * (case.px / SIZES[0]) ** 2


def by_nothing(case: Case, each: Sequence[float]) -> float:
    """What one process takes: the work is the same."""
    return each[0]


def lines(base: Case) -> Iterator[Line]:
    """All three tables, one below the other."""
    yield from grown("iters", [replace(base, iters=one) for one in ITERS], by_iters)
    yield from grown("px", [replace(base, px=one) for one in SIZES], by_pixels)
    yield from grown("processes", [replace(base, processes=one) for one in PROCESSES], by_nothing)


def main() -> None:
    """Writes the tables."""
    parser = argparse.ArgumentParser(description="How the cost of adversarial training grows.")
    parser.add_argument("--network", default="r20")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=TABLES / "train-cost.csv")
    given = parser.parse_args()
    torch.set_num_threads(1)
    base = Case(given.network, given.rounds, given.precision)
    write(DataFrame(list(lines(base))), given.output, "cpu")


if __name__ == "__main__":
    main()
