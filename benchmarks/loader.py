"""How much of a training step's time its images take: read, decoded, augmented, handed over.

    python benchmarks/loader.py [--rounds 8]

Steps on the batches of the training's own loader against steps on one batch kept in memory, in
turn; CPU seconds of the process, of all its threads. r20 learns augmented images of 32 px by
N-FGSM, the cheapest step on adversarial images, and by PGD-10; r50 learns crops of 224 px of JPEG
files of 256 px and more, by PGD-1 and by PGD-10. The larger the share, the nearer to 1.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from noise import noise
from pandas import DataFrame
from PIL import Image
from table import TABLES, show, write

from fdbench.data import Dataset, open_data
from fdbench.machine import keep_freed
from fdbench.specs import ModelSpec, TrainSpec
from fdbench.store import Workspace
from fdbench.training import Training, learner_for
from fdbench.training.loop import learn
from fdbench.training.network import NetworkLearner
from fdbench.training.state import Position
from fdbench.types import Batch

EPS = 8 / 255
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A training: its network, images and attack."""

    network: str
    px: int
    batch: int
    method: str
    iters: int

    def learner(self, folder: Path, steps: int) -> NetworkLearner:
        """The training as `fdbench train` begins it."""
        spec = TrainSpec(
            batch_size=self.batch, method=self.method, attack_iters=self.iters, eps=EPS,
            alpha=EPS / self.iters, targeted=False, augment=True, lr=1e-4,
        )  # fmt: skip
        data = self.data(folder, (steps + 2) * self.batch)
        model = ModelSpec(self.network, classes=10, px=self.px)
        nowhere = Workspace(Path("nowhere"))
        return learner_for(Training("it", model, spec, data, data, nowhere, CPU))

    def data(self, folder: Path, count: int) -> Dataset:
        """Noise in memory for small images, smooth noise in JPEG files for large ones."""
        if self.px <= 64:
            return noise(count, self.px)
        rng = np.random.default_rng(0)
        for number in range(count):
            where = folder / "train" / str(number % 10)
            where.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (32, 48, 3), np.uint8))
            coarse.resize((384, 256), Image.Resampling.BICUBIC).save(where / f"{number}.jpg")
        return open_data(f"folder:{folder}", "train", px=self.px)


def _timed(learner: NetworkLearner, batches: Iterator[Batch]) -> float:
    """CPU seconds to take a batch and learn it."""
    began = time.process_time()
    learn(learner, [next(batches)], Position(), lambda: None)
    return time.process_time() - began


def measured(case: Case, rounds: int) -> dict[str, str | int | float]:
    """The line of a case."""
    with tempfile.TemporaryDirectory() as folder:
        learner = case.learner(Path(folder), rounds)
        loaded = learner.loader.batches(0)
        kept = iter([next(loaded)] * (rounds + 1))
        _timed(learner, kept)  # chooses kernels
        pairs = [(_timed(learner, loaded), _timed(learner, kept)) for _ in range(rounds)]
        list(loaded)  # no file is read after its folder is gone
    with_loader, without = (median(side) for side in zip(*pairs, strict=True))
    return {
        "network": case.network,
        "px": case.px,
        "batch": case.batch,
        "method": case.method,
        "iters": case.iters,
        "rounds": rounds,
        "with loader s": round(with_loader, 4),
        "without s": round(without, 4),
        "share": round(without / with_loader, 4),
    }


CASES = (
    Case("r20", 32, 64, "n-fgsm", 1),
    Case("r20", 32, 64, "pgd", 10),
    Case("r50", 224, 16, "pgd", 1),
    Case("r50", 224, 16, "pgd", 10),
)


def main() -> None:
    """Writes a line for each case."""
    parser = argparse.ArgumentParser(description="The loader's part of a training step.")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--output", type=Path, default=TABLES / "loader.csv")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed()
    lines = []
    for case in CASES:
        rounds = given.rounds if case.px <= 64 else max(given.rounds // 4, 2)
        lines.append(measured(case, rounds))
        show(lines[-1])
        write(DataFrame(lines), given.output, "cpu")


if __name__ == "__main__":
    main()
