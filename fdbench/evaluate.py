"""The loop: batch -> attack -> verify -> predict -> rows. No way back, no second judge."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fdbench.accelerate import accelerate
from fdbench.attacks import ATTACKS, Reading, Runner, Subject
from fdbench.attacks.targets import draw_targets
from fdbench.console import progress
from fdbench.data import Dataset
from fdbench.environment import environment
from fdbench.errors import BadValue, FdbenchError
from fdbench.judge import Referee, predict
from fdbench.lazy import imported
from fdbench.models.load import Model
from fdbench.record import RunFolder
from fdbench.runinfo import DataInfo, ModelInfo, RunInfo
from fdbench.specs import AttackSpec
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels


@dataclass(frozen=True)
class Job:
    """One attack on one model over the first `limit` images of a data set."""

    model: Model
    data: Dataset
    attack: AttackSpec
    results: Path
    device: torch.device
    seed: int = 0
    limit: int | None = None
    batch_size: int = 250
    precision: str = "fp32"

    @property
    def positions(self) -> list[int]:
        """The images to attack: always the same first ones, so that models can be paired."""
        return list(range(min(len(self.data), self.limit or len(self.data))))


@dataclass
class _Worst:
    """Per-image worst case over the readings that share a name (restarts)."""

    pred: Labels
    adv: Images
    first_wrong: Labels | None

    def merge(self, pred: Labels, reading: Reading, label: Labels, target: Labels | None) -> None:
        rank, mine = _badness(pred, label, target), _badness(self.pred, label, target)
        worse = rank > mine
        self.pred = torch.where(worse, pred, self.pred)
        self.adv = torch.where(worse[:, None, None, None], reading.adv, self.adv)
        if self.first_wrong is not None and reading.first_wrong is not None:
            self.first_wrong = _earliest(self.first_wrong, reading.first_wrong)


def _badness(pred: Labels, label: Labels, target: Labels | None) -> Labels:
    """0 right, 1 wrong, 2 what the attacker wanted: hitting the target is worse than missing it."""
    wrong = (pred != label).long()
    return wrong if target is None else wrong + (pred == target).long()


def _earliest(one: Labels, other: Labels) -> Labels:
    """The smaller, where 0 stands for never."""
    both = torch.minimum(one, other)
    return torch.where(both > 0, both, torch.maximum(one, other))


def attack_batch(
    job: Job, batch: Batch, net: nn.Module, target: Labels | None, tick: Callable[[], None]
) -> list[dict[str, Any]]:
    """The rows of one batch."""
    threat = Threat(job.attack.norm, job.attack.eps)
    judge = Referee(job.model.net, batch, threat)
    everything = torch.arange(len(batch.ids), device=batch.label.device)
    worst: dict[str, _Worst] = {}
    subject = Subject(net, batch, target, threat, job.seed, judge, tick)
    run: Runner = imported(ATTACKS[job.attack.attack].run)
    for reading in run(subject, job.attack):
        pred = judge(reading.adv, everything)
        if reading.name in worst:
            worst[reading.name].merge(pred, reading, batch.label, target)
        else:
            worst[reading.name] = _Worst(pred, reading.adv, reading.first_wrong)
    clean = predict(job.model.net, batch.x)
    return _rows(batch, target, clean, worst, threat)


def _first_wrong(worst: dict[str, _Worst], label: Labels) -> dict[str, list[int | None]]:
    """The earliest wrong iterate under each reading; the last one is known from the verdict."""
    found: dict[str, list[int | None]] = {}
    for name, reading in worst.items():
        if reading.first_wrong is not None:
            broken = torch.where(reading.pred != label, int(name), 0)
            earliest = _earliest(reading.first_wrong, broken)
            found[name] = [int(step) or None for step in earliest]
    return found


def _rows(
    batch: Batch, target: Labels | None, clean: Labels, worst: dict[str, _Worst], threat: Threat
) -> list[dict[str, Any]]:
    first_wrong = _first_wrong(worst, batch.label)
    last = list(worst)[-1]
    distance = threat.distance(worst[last].adv, batch.x)
    rows = []
    for i, image in enumerate(batch.ids):
        row: dict[str, Any] = {
            "image": image,
            "label": int(batch.label[i]),
            "target": None if target is None else int(target[i]),
            "clean": int(clean[i]),
            "pred": {name: int(reading.pred[i]) for name, reading in worst.items()},
            "distance": round(float(distance[i]), 8),
        }
        if first_wrong:
            row["first_wrong"] = first_wrong[last][i]
            row["first_wrong_by"] = {name: steps[i] for name, steps in first_wrong.items()}
        rows.append(row)
    return rows


def _rank_and_world() -> tuple[int, int]:
    """Which of how many processes this is, as torchrun says; 0 of 1 without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def _check_fit(job: Job, batch: Batch) -> int:
    """The number of the network's classes, if the data's labels fit among them."""
    with torch.no_grad():
        logits = job.model.net(batch.x)
    if logits.ndim != 2:
        raise FdbenchError(f"{job.model.ref} returns {tuple(logits.shape)}, not logits (B, C).")
    classes = int(logits.shape[1])
    if classes < job.data.classes:
        raise BadValue(
            f"{job.model.ref} knows {classes} classes, {job.data.name} has {job.data.classes}.\n"
            "Give the --data it was trained on."
        )
    return classes


def run_info(job: Job) -> RunInfo:
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
        warnings=warnings,
    )


def evaluate(job: Job, say: Callable[[str], None]) -> Path:
    """Attacks what is not yet attacked and returns the run's folder.

    Rows of finished batches are on disk before the next batch starts; the same job again goes on
    where it stopped. Raises IllegalAdversary if an attack leaves its threat model.
    """
    job.model.net.to(job.device)
    rank, world = _rank_and_world()
    with RunFolder.open(job.results, run_info(job), rank) as folder:
        ids = job.data.ids
        mine = job.positions[rank::world]
        todo = [position for position in mine if ids[position] not in folder.done]
        say(f"{folder.path.name}: {len(todo)} of {len(mine)} images to do")
        if todo:
            _attack_all(job, todo, len(mine), folder)
        return folder.path


def _attack_all(job: Job, todo: list[int], total: int, folder: RunFolder) -> None:
    example = job.data.fetch(todo[:16]).to(job.device)
    classes = _check_fit(job, example)
    net, why_not = accelerate(job.model.net, example.x, job.precision)
    if why_not:
        folder.warn(why_not)
    steps: int = imported(ATTACKS[job.attack.attack].steps)(job.attack)
    with progress(job.model.name, total, "images", total - len(todo)) as advance:
        for cpu_batch in job.data.batches(todo, job.batch_size):
            batch = cpu_batch.to(job.device)
            target = draw_targets(batch, classes, job.seed) if job.attack.targeted else None
            tick = partial(advance, len(batch.ids) / steps)
            folder.append(attack_batch(job, batch, net, target, tick))
