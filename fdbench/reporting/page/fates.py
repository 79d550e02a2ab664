"""What became of each network's images: counts by who broke them, and the images one by one.

The page holds a part of the images only, so that it stays small whatever the runs hold.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from fdbench.reporting.outcomes import places_of
from fdbench.reporting.page.trials import UNKNOWN, Trial
from fdbench.reporting.setting import Setting

CLEAN_WRONG, SURVIVES = "wrong when clean", "never broken"
_BYTES = 60_000  # of all images on the page, about
_LEAST, _MOST = 50, 1000  # images of a data set

Ids = Shaped[np.ndarray, "..."]
Places = Int[np.ndarray, "..."]
Images = Bool[np.ndarray, "..."]


@dataclass(frozen=True)
class Fate:
    """How many of a network's images an attempt broke: before cheaper ones, alone, and at all.

    Of the images that are right when clean.
    """

    label: str
    first: int
    alone: int | None = None
    broken: int | None = None


@dataclass(frozen=True)
class Fates:
    """One network under one threat; the fates' `first` add up to `n`."""

    label: str
    n: int
    fates: tuple[Fate, ...]


def _fates(trial: Trial) -> Fates:
    right = trial.clean_right
    attempts = [
        Fate(
            one.label,
            int((right & (trial.first == place)).sum()),
            trial.alone(place),
            int((right & one.broken).sum()),
        )
        for place, one in enumerate(trial.attempts)
    ]
    ends = Fate(CLEAN_WRONG, int((~right).sum())), Fate(SURVIVES, int(trial.survived.sum()))
    return Fates(trial.label, len(trial.ids), (ends[0], *attempts, ends[1]))


def what_broke(trials: Sequence[Trial]) -> Iterator[tuple[Setting, list[Fates]]]:
    """The fates of every network's images, for each threat."""
    for setting, of_threat in groupby(trials, key=lambda one: one.setting):
        yield setting, list(map(_fates, of_threat))


def _joined(values: Sequence[int], usual: Sequence[int] | int) -> str:
    """Numbers between commas, those that are as usual left out: the page reads them back."""
    usuals = [usual] * len(values) if isinstance(usual, int) else usual
    pairs = zip(values, usuals, strict=True)
    return ",".join("" if value == other else str(value) for value, other in pairs)


def _masks(trial: Trial, at: Places, have: Images) -> str:
    """For each image the attempts that broke it, the first in the lowest bit, in hexadecimal."""
    masks = [0] * len(at)
    for place, one in enumerate(trial.attempts):
        for i in np.flatnonzero(one.broken[at] & have).tolist():
            masks[i] |= 1 << place
    return ",".join(f"{mask:x}" if mask else "" for mask in masks)


def _one_by_one(trial: Trial, ids: Ids, labels: list[int]) -> dict[str, Any]:
    """One network's images: `clean` and `answer` where they are not the label.

    Which attempt was the first is the lowest bit of the image's mask.
    """
    there = places_of(ids, trial.ids)
    have = there >= 0
    at = np.where(have, there, 0)
    first = np.where(have, trial.first[at], UNKNOWN)
    answer, when = np.array(labels), np.full(len(ids), UNKNOWN)
    for place, one in enumerate(trial.attempts):
        here = first == place
        answer[here], when[here] = one.answer[at][here], one.when[at][here]
    return {
        "threat": f"{trial.setting.norm} {trial.setting.eps}, {trial.setting.targeted}",
        "attempts": [one.label for one in trial.attempts],
        "absent": np.flatnonzero(~have).tolist(),
        "clean": _joined(trial.fullest.columns.clean[at].tolist(), labels),
        "masks": _masks(trial, at, have),
        "answer": _joined(answer.tolist(), labels),
        "when": _joined(when.tolist(), UNKNOWN),
    }


def one_by_one(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The images of each data set with what every network made of them, as the page's script reads.

    The first ones of the run with most images; `of` says how many that run has.
    """
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for one in trials:
        data = one.fullest.info.data
        groups.setdefault((data.name, data.split, data.fingerprint), []).append(one)
    found, left = dict[tuple[str, str, str], dict[str, Any]](), _BYTES
    order = sorted(groups, key=lambda key: max(len(one.ids) for one in groups[key]))
    for done, key in enumerate(order):  # what small data sets leave is for the larger ones
        part = left // (len(order) - done)
        found[key] = _data_set(f"{key[0]} {key[1]}", groups[key], part)
        left -= len(json.dumps(found[key]["networks"]))
    return [found[key] for key in groups]


def _data_set(title: str, trials: Sequence[Trial], most_bytes: int) -> dict[str, Any]:
    """As many of the data set's images as fit; how many do, a few of them tell."""
    few = _first_ones(title, trials, _LEAST)
    each = len(json.dumps(few["networks"])) / max(1, len(few["ids"]))
    return _first_ones(title, trials, min(_MOST, max(_LEAST, int(most_bytes / each))))


def _first_ones(title: str, trials: Sequence[Trial], count: int) -> dict[str, Any]:
    most = max(trials, key=lambda one: len(one.ids))
    ids, labels = most.ids[:count], most.fullest.columns.label[:count].tolist()
    networks = [{"name": one.label, **_one_by_one(one, ids, labels)} for one in trials]
    return {
        "data": title,
        "of": len(most.ids),
        "ids": ids.tolist(),
        "labels": labels,
        "networks": networks,
    }
