"""Turns the readings of a batch into rows, one per image by its worst case (contracts C4, C5)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from fdbench.attacks import DRAWS, Course, Reading, margin
from fdbench.store import Row, add_fields
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels, Values
from fdbench.verdict import Referee


@dataclass
class Worst:
    """Per-image worst case over the readings that share a name (restarts)."""

    pred: Labels
    adv: Images
    loss: Values  # margin loss of the float32 network
    first_wrong: Labels | None
    notes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    right: Labels | None = None  # as in Reading
    course: Course | None = None  # of the first restart: images that stand were right in each

    def merge(self, other: "Worst", label: Labels, target: Labels | None) -> None:
        """Adopts `other` on the images where it is worse."""
        rank, mine = _badness(other.pred, label, target), _badness(self.pred, label, target)
        worse = rank > mine
        self.pred = torch.where(worse, other.pred, self.pred)
        self.loss = torch.where(worse, other.loss, self.loss)
        self.adv = torch.where(worse[:, None, None, None], other.adv, self.adv)
        if self.first_wrong is not None and other.first_wrong is not None:
            self.first_wrong = _earliest(self.first_wrong, other.first_wrong)


def draw_again(rows: Sequence[Row], worst: dict[str, Worst], judge: Referee) -> None:
    """Adds to each row in how many of DRAWS passes the network is right on each reading."""
    label = judge.batch.label
    everything = torch.arange(len(label), device=label.device)
    counts: dict[str, list[int]] = {}
    for name, reading in worst.items():
        if reading.right is None:
            others = [judge(reading.adv, everything) for _ in range(DRAWS - 1)]
            counts[name] = (torch.stack([reading.pred, *others]) == label).sum(0).tolist()
        else:
            counts[name] = reading.right.tolist()
    for i, row in enumerate(rows):
        row["draws"] = {name: count[i] for name, count in counts.items()}


def _badness(pred: Labels, label: Labels, target: Labels | None) -> Labels:
    """Returns 0 if right, 1 if wrong, 2 if it is the target: a hit is worse than a miss."""
    wrong = (pred != label).long()
    return wrong if target is None else wrong + (pred == target).long()


def _earliest(one: Labels, other: Labels) -> Labels:
    """Returns the smaller, where 0 means never."""
    both = torch.minimum(one, other)
    return torch.where(both > 0, both, torch.maximum(one, other))


def worst_of(
    readings: Iterable[Reading], judge: Referee, label: Labels, target: Labels | None
) -> dict[str, Worst]:
    """Judges every reading, and merges those that share a name."""
    everything = torch.arange(len(label), device=label.device)
    worst: dict[str, Worst] = {}
    for one in readings:
        logits = judge.logits(one.adv, everything)
        loss = margin(logits, label, target)
        pred = logits.argmax(1) if one.pred is None else one.pred
        read = Worst(pred, one.adv, loss, one.first_wrong, one.notes, one.right, one.course)
        if one.name in worst:
            worst[one.name].merge(read, label, target)
        else:
            worst[one.name] = read
    return worst


def _first_wrong(worst: dict[str, Worst], label: Labels) -> dict[str, list[int | None]]:
    """Returns the earliest wrong iterate of each reading; the verdict covers the last iterate."""
    first_wrong: dict[str, list[int | None]] = {}
    for name, reading in worst.items():
        if reading.first_wrong is not None:
            broken = torch.where(reading.pred != label, int(name), 0)
            earliest = _earliest(reading.first_wrong, broken)
            first_wrong[name] = [int(step) or None for step in earliest]
    return first_wrong


def rows_of(
    batch: Batch, target: Labels | None, clean: Labels, worst: dict[str, Worst], threat: Threat
) -> list[Row]:
    """Returns one row per image (contract C5)."""
    first_wrong = _first_wrong(worst, batch.label)
    last = list(worst)[-1]
    distance = threat.distance(worst[last].adv, batch.x)
    rows = []
    for i, image in enumerate(batch.ids):
        row: Row = {
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
        for reading in worst.values():
            add_fields(row, {name: values[i] for name, values in reading.notes.items()})
        rows.append(row)
    return rows
