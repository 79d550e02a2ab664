"""Which images of a stored set are shown, and what one network takes them for.

Read from the set's shards with NumPy alone, nothing but the images that are shown. Free of torch.
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
from fdbench.randomness import ImageId
from fdbench.reporting import outcomes
from fdbench.reporting.blackbox import Victim
from fdbench.store import CLEAN

IMAGES, ATTACKERS = 4, 5  # of one picture in a report: what can still be looked at

Pixels = UInt8[np.ndarray, "n 3 H W"]  # RGB, 0 .. 255


@dataclass(frozen=True)
class Examples:
    """Some images of a set, and what one network takes them for."""

    ids: tuple[ImageId, ...]
    clean: Pixels
    adv: Mapping[str, Pixels]  # by attacker
    labels: tuple[int, ...]
    predictions: Mapping[str, tuple[int, ...]]  # by attacker, and CLEAN


def _index(folder: Path) -> dict[tuple[str, ImageId], str]:
    """The shard of each (attacker, image) of a set, by its index; a torn last line is left out."""
    shards: dict[tuple[str, ImageId], str] = {}
    for path in sorted(folder.glob("index-*.jsonl")):
        text = path.read_text()
        for line in text[: text.rfind("\n") + 1].splitlines():
            try:
                entry = json.loads(line)
                for image in entry["ids"]:
                    shards.setdefault((entry["attacker"], image), entry["shard"])
            except (ValueError, TypeError, KeyError) as reason:
                raise FdbenchError(f"{path} is not a set's index: {reason!r}.") from reason
    return shards


def _stored(path: Path, reading: str, image: ImageId) -> Pixels:
    """One image of one reading of a shard, (1, 3, H, W); nothing else of it is read."""
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
    with safe_open(path, framework="numpy") as shard:
        return reading in list(shard.keys())


def _telling(one: Victim, places: Sequence[int]) -> list[int]:
    """Rows from the image that fewest attackers survive on to the one that most do, evenly."""
    order = sorted(places, key=lambda place: int(one.survived[place].sum()))
    count = min(IMAGES, len(order))
    return [order[round(i * (len(order) - 1) / max(count - 1, 1))] for i in range(count)]


@dataclass(frozen=True)
class _StoredSet:
    """A set's folder; clean images lie in shards of their own or beside an attacker's."""

    folder: Path
    index: Mapping[tuple[str, ImageId], str]

    def _shard(self, reading: str, attacker: str, image: ImageId) -> Path:
        shard = self.index.get((reading, image)) or self.index.get((attacker, image))
        return self.folder / "adv" / (shard or "absent")

    def holds(self, image: ImageId, attackers: Sequence[str]) -> bool:
        """Whether the image is on this disk, clean and by each of the attackers."""
        wanted = [(reading, attacker) for attacker in attackers for reading in (attacker, CLEAN)]
        return all(_holds(self._shard(*one, image), one[0]) for one in wanted)

    def read(self, reading: str, attacker: str, ids: Sequence[ImageId]) -> Pixels:
        """These images by an attacker or, of its shards, clean."""
        return np.concatenate([_stored(self._shard(reading, attacker, i), reading, i) for i in ids])


def examples(one: Victim, folder: Path) -> Examples | None:
    """IMAGES of the set in `folder` under its strongest attackers against this network.

    The images run from those that most attackers break to those that none does, of those that the
    network gets right when clean, where there are any. None where the set or its shards are not on
    this disk. Raises FdbenchError for files that are not a set's.
    """
    stored = _StoredSet(folder, _index(folder))
    attackers = [one.attackers[place] for place in one.by_strength[:ATTACKERS]]
    ids = [outcomes.image(row) for row in one.rows]
    here = [place for place, image in enumerate(ids) if stored.holds(image, attackers)]
    if not here or not attackers:
        return None
    shown = _telling(one, [place for place in here if one.clean[place]] or here)
    chosen, rows = [ids[place] for place in shown], [one.rows[place] for place in shown]
    answers = {name: tuple(outcomes.prediction(row, name) for row in rows) for name in attackers}
    return Examples(
        ids=tuple(chosen),
        clean=stored.read(CLEAN, attackers[0], chosen),
        adv={attacker: stored.read(attacker, attacker, chosen) for attacker in attackers},
        labels=tuple(map(outcomes.label, rows)),
        predictions={**answers, CLEAN: tuple(map(outcomes.clean_prediction, rows))},
    )
