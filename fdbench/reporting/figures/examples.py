"""Selects images of a stored set to show, with one network's predictions.

Reads only those images from the set's shards, with NumPy alone. Free of torch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open

from fdbench.errors import FdbenchError
from fdbench.files import entry
from fdbench.randomness import ImageId
from fdbench.reporting import outcomes
from fdbench.reporting.all_or_nothing import Victim
from fdbench.store import CLEAN, SetPaths, read_lines, read_set_info

IMAGES, ATTACKERS = 4, 5  # at most, in one picture of a report

Pixels = UInt8[np.ndarray, "n 3 H W"]  # RGB, 0 .. 255


@dataclass(frozen=True)
class Examples:
    """Some images of a set, and one network's predictions."""

    ids: tuple[ImageId, ...]
    clean: Pixels
    adv: Mapping[str, Pixels]  # by attacker
    labels: tuple[int, ...]
    predictions: Mapping[str, tuple[int, ...]]  # by attacker, and CLEAN


def _index(folder: Path) -> dict[tuple[str, ImageId], str]:
    """The shard of each (attacker, image) of a set, by its index; empty without a set."""
    description = SetPaths(folder).description
    if not description.is_file():
        return {}
    shards: dict[tuple[str, ImageId], str] = {}
    for line in read_lines(folder, read_set_info(description).digest):
        for image in line.ids:
            shards.setdefault((line.attacker, image), line.shard)
    return shards


def _stored(path: Path, reading: str, image: ImageId) -> Pixels:
    """Reads one image of one reading from a shard, (1, 3, H, W), and nothing else."""
    try:
        with safe_open(path, framework="numpy") as shard:
            place = json.loads(shard.metadata()["ids"]).index(image)
            return shard.get_slice(reading)[place : place + 1]
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as reason:
        raise FdbenchError(f"{path} does not hold {reading} of image {image}: {reason}") from reason


@cache
def _holds(path: Path, reading: str) -> bool:
    """Whether the shard is on this disk and has images of that reading."""
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="numpy") as shard:
            return reading in list(shard.keys())
    except (OSError, SafetensorError) as reason:
        raise FdbenchError(f"{path} is not a shard of images: {reason}") from reason


def _evenly_spaced(one: Victim, places: Sequence[int]) -> list[int]:
    """Rows evenly spaced from the image that most attackers break to the one that fewest do."""
    order = sorted(places, key=lambda place: int(one.survived[place].sum()))
    count = min(IMAGES, len(order))
    return [order[round(i * (len(order) - 1) / max(count - 1, 1))] for i in range(count)]


@dataclass(frozen=True)
class _StoredSet:
    """A set's folder; clean images are in shards of their own or in an attacker's."""

    folder: Path
    index: Mapping[tuple[str, ImageId], str]

    def _shard(self, reading: str, attacker: str, image: ImageId) -> Path:
        shard = self.index.get((reading, image)) or self.index.get((attacker, image))
        return entry(SetPaths(self.folder).images, shard or "absent")

    def holds(self, image: ImageId, attackers: Sequence[str]) -> bool:
        """Whether the image is on this disk, clean and by each of the attackers."""
        wanted = [(reading, attacker) for attacker in attackers for reading in (attacker, CLEAN)]
        return all(_holds(self._shard(*one, image), one[0]) for one in wanted)

    def read(self, reading: str, attacker: str, ids: Sequence[ImageId]) -> Pixels:
        """One reading of these images: the attacker's, or CLEAN, which may be in its shards."""
        return np.concatenate([_stored(self._shard(reading, attacker, i), reading, i) for i in ids])


def examples(one: Victim, folder: Path) -> Examples | None:
    """IMAGES of the set in `folder` under the strongest attackers against this network.

    Chosen among the clean-correct images, if there are any, and ordered from the image that most
    attackers break to the one that fewest do. None if the set or its shards are not on this disk.
    Raises FdbenchError for malformed files.
    """
    stored = _StoredSet(folder, _index(folder))
    attackers = [one.attackers[place] for place in one.by_strength[:ATTACKERS]]
    columns = one.run.columns
    ids: list[ImageId] = columns.images[one.places].tolist()
    on_disk = [place for place, image in enumerate(ids) if stored.holds(image, attackers)]
    if not on_disk or not attackers:
        return None
    clean_correct = [place for place in on_disk if one.clean[place]]
    shown = _evenly_spaced(one, clean_correct or on_disk)
    chosen, rows = [ids[place] for place in shown], one.places[shown]
    predictions = {name: outcomes.predictions(columns, name, rows) for name in attackers}
    return Examples(
        ids=tuple(chosen),
        clean=stored.read(CLEAN, attackers[0], chosen),
        adv={attacker: stored.read(attacker, attacker, chosen) for attacker in attackers},
        labels=tuple(columns.label[rows].tolist()),
        predictions={**predictions, CLEAN: tuple(columns.clean[rows].tolist())},
    )
