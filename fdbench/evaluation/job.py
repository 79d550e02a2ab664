"""What is to be evaluated, and in which pieces: a job, its description, its batches."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from fdbench.attacks import ATTACKS, Entry, given
from fdbench.data import Dataset
from fdbench.errors import BadValue, FdbenchError
from fdbench.machine import environment
from fdbench.models import Model
from fdbench.randomness import ImageId
from fdbench.registry import imported
from fdbench.specs import AttackSpec, digest
from fdbench.store import DataInfo, ModelInfo, RunInfo
from fdbench.types import Batch

BATCH = 250  # images, where memory allows: larger ones are no faster on a CPU


@dataclass(frozen=True)
class Evaluation:
    """One attack on one model over the first `limit` images of a data set."""

    model: Model
    data: Dataset
    attack: AttackSpec
    results: Path
    device: torch.device
    seed: int = 0
    limit: int | None = None
    batch_size: int | None = None  # None: BATCH, or what memory allows
    precision: str = "fp32"
    compile: bool = False
    save_adv: str | None = None  # one of specs.SAVE
    targets: Mapping[ImageId, int] = field(default_factory=dict)  # with attack.targets "file"

    @property
    def positions(self) -> list[int]:
        """The images to attack: always the same first ones, so that models can be paired."""
        return list(self.data.first(self.limit))

    @property
    def entry(self) -> Entry:
        return ATTACKS[self.attack.attack]

    @property
    def most(self) -> int:
        """Images in a forward pass, at most."""
        return self.batch_size or BATCH

    @property
    def whole_run(self) -> bool:
        """Whether the attack is given all images at once."""
        return self.entry.whole_run and self.precision == "reference"


def _further(job: Evaluation) -> dict[str, Any]:
    """What else changes a verdict (RunInfo.further)."""
    further: dict[str, Any] = {}
    if job.entry.whole_batches:
        further["batch_size"] = job.most
    if job.whole_run:
        further["images"] = len(job.positions)
    if job.attack.targets == "file":
        further["targets"] = digest(sorted(map(list, job.targets.items()), key=str))
    if job.entry.describes:
        further |= imported(job.entry.describes)(job.results, job.attack)
    return further


def run_info(job: Evaluation) -> RunInfo:
    """What run.json says: all a rerun needs."""
    card = job.model.card
    warnings: tuple[str, ...] = ()
    if card is not None and not card.finished:
        warnings = (f"training unfinished: these are the weights of epoch {card.epochs}",)
    return RunInfo(
        model=ModelInfo(
            job.model.name,
            job.model.ref,
            job.model.weights,
            spec=asdict(card.spec) if card else None,
            train=asdict(card.train) if card and card.train else None,
            preprocessing=job.model.preprocessing,
        ),
        data=DataInfo(
            job.data.name, job.data.split, job.data.fingerprint, job.data.classes, len(job.data)
        ),
        attack=job.attack,
        seed=job.seed,
        precision=job.precision,
        images=len(job.positions),
        limit=job.limit,
        batch_size=job.batch_size,
        environment=environment(job.device),
        further=_further(job),
        warnings=warnings,
    )


def plan(job: Evaluation, done: set[ImageId], rank: int, world: int) -> tuple[list[list[int]], int]:
    """This process's batches of positions that have something left to do, and all its images.

    Attacks that draw per batch keep their boundaries whatever is done and whoever does it; one of
    the whole run is the first process's alone.
    """
    whole, ids = job.entry.whole_batches, job.data.ids
    size = len(job.positions) if job.whole_run else job.most
    positions = job.positions if whole else job.positions[rank::world]
    if not whole:
        left = [position for position in positions if ids[position] not in done]
        return [left[i : i + size] for i in range(0, len(left), size)], len(positions)
    chunks = [positions[i : i + size] for i in range(0, len(positions), size)][rank::world]
    undone = [chunk for chunk in chunks if any(ids[position] not in done for position in chunk)]
    return undone, sum(map(len, chunks))


def check_fit(model: Model, data: Dataset, batch: Batch) -> int:
    """The number of the network's classes.

    Raises BadValue if the data's labels don't fit among them, FdbenchError for what are no logits.
    """
    with torch.no_grad():
        logits = model.net(batch.x)
    if logits.ndim != 2:
        raise FdbenchError(f"{model.ref} returns {tuple(logits.shape)}, not logits (B, C).")
    classes = int(logits.shape[1])
    if classes < data.classes:
        raise BadValue(
            f"{model.ref} knows {classes} classes, {data.name} has {data.classes}.\n"
            "Give the --data it was trained on."
        )
    return classes


def check_targets(job: Evaluation) -> None:
    """Every image has a wrong class to go to, before hours pass. Raises BadValue."""
    ids = [job.data.ids[position] for position in job.positions]
    given(job.targets, ids, job.data.labels[job.positions], job.data.classes)
