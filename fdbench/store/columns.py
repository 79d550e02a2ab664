"""The rows of a run by column: what a report counts, in a few dozen bytes an image.

A row's `distance`, `shard` and whatever its attack added are checked when it is read, and not kept.
Free of torch.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from fdbench.randomness import ImageId
from fdbench.store.rows import Row

Ids = Shaped[np.ndarray, "..."]  # whole numbers, or objects: names, or both
Whole = Int[np.ndarray, " given"]


_WIDTHS = (np.int8, np.int16, np.int32, np.int64)


def _compact(values: "array[int]") -> Whole:
    """The numbers in the smallest type that holds all of them."""
    low, high = (min(values), max(values)) if values else (0, 0)
    fits = (kind for kind in _WIDTHS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return np.array(values, next(fits))


def _ids(ids: list[ImageId]) -> Ids:
    """Image ids as an array whose items are equal if and only if the ids are."""
    whole = all(type(one) is int for one in ids)
    array_of = np.empty(len(ids), np.int64 if whole else object)
    array_of[:] = ids
    return array_of


@dataclass(frozen=True, eq=False)
class Values:
    """One field, or one entry of a table in it, of the rows that have it.

    `places` are these rows, None for all; `null` is where the value is null, None for nowhere.
    """

    values: Whole
    places: Int[np.ndarray, " given"] | None
    null: Bool[np.ndarray, " given"] | None

    @property
    def at(self) -> Any:
        """An index of the rows that have it."""
        return slice(None) if self.places is None else self.places

    @property
    def known(self) -> Bool[np.ndarray, " given"]:
        """Where the value is not null."""
        return np.ones(len(self.values), bool) if self.null is None else ~self.null

    def given(self, count: int) -> Bool[np.ndarray, " images"]:
        """Which of `count` rows have it."""
        found = np.zeros(count, bool)
        found[self.at] = True
        return found


NULL = b"null"
NOWHERE = Values(np.empty(0, np.int8), np.empty(0, np.int32), None)


@dataclass(frozen=True, eq=False)
class Columns:
    """The rows of a run, one per image, in the order in which they were read.

    Tables within a row (`pred`, `first_wrong_by`, `draws`) have a column for each key, in the order
    of its first appearance. `broken_by` holds places in `breakers`.
    """

    images: Ids
    label: Int[np.ndarray, " images"]
    clean: Int[np.ndarray, " images"]
    target: Values = NOWHERE
    first_wrong: Values = NOWHERE
    broken_by: Values = NOWHERE
    breakers: tuple[str, ...] = ()
    pred: Mapping[str, Values] = field(default_factory=dict)
    first_wrong_by: Mapping[str, Values] = field(default_factory=dict)
    draws: Mapping[str, Values] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)


class _Numbers(dict[bytes, int]):
    """The number that each text stands for; most occur again and again."""

    def __missing__(self, text: bytes) -> int:
        self[text] = number = int(text)
        return number


class _Growing:
    """The values of one field so far, and the rows that have it."""

    def __init__(self) -> None:
        self.places, self.values, self.nulls = array("i"), array("q"), array("i")

    def add(self, place: int, value: int | None) -> None:
        """Takes the value of the row at `place`."""
        self.places.append(place)
        if value is None:
            self.nulls.append(len(self.values))
            value = 0
        self.values.append(value)

    def extend(self, places: "array[int]", texts: Sequence[bytes], numbers: "_Numbers") -> None:
        """Takes the values of several rows, as they are written."""
        if NULL in texts:
            first = len(self.values)
            self.nulls.extend(first + i for i, text in enumerate(texts) if text == NULL)
        self.places.extend(places)
        self.values.extend(map(numbers.__getitem__, texts))

    def grown(self, count: int) -> Values:
        """What was added, of `count` rows."""
        dense = len(self.values) == count
        null = np.zeros(len(self.values), bool)
        null[np.frombuffer(self.nulls, np.int32) if self.nulls else []] = True
        return Values(
            values=_compact(self.values),
            places=None if dense else np.array(self.places, np.int32),
            null=null if self.nulls else None,
        )


class ColumnsBuilder:
    """Takes rows one after the other, the first of each image."""

    def __init__(self) -> None:
        self._places: dict[ImageId, int] = {}
        self._label, self._clean = array("q"), array("q")
        self._fields = {name: _Growing() for name in ("target", "first_wrong", "broken_by")}
        self._tables: dict[str, dict[str, _Growing]] = {
            name: {} for name in ("pred", "first_wrong_by", "draws")
        }
        self._breakers: dict[str, int] = {}
        self._numbers = _Numbers({NULL: 0})

    def place(self, image: ImageId) -> int | None:
        """The place of a further image; None if it has one already."""
        place = len(self._places)
        return place if self._places.setdefault(image, place) == place else None

    def add(self, row: Row) -> bool:
        """Takes a row; False if its image has one already."""
        place = self.place(row["image"])
        if place is None:
            return False
        self._label.append(row["label"])
        self._clean.append(row["clean"])
        for name in ("target", "first_wrong"):
            if name in row:
                self._fields[name].add(place, row[name])
        if "broken_by" in row:
            self._fields["broken_by"].add(place, self._breaker(row["broken_by"]))
        for name, entries in self._tables.items():
            if name in row:
                self._enter(entries, place, row[name])  # type: ignore[literal-required]
        return True

    def _breaker(self, name: str | None) -> int | None:
        return None if name is None else self._breakers.setdefault(name, len(self._breakers))

    @staticmethod
    def _enter(entries: dict[str, _Growing], place: int, given: Mapping[str, int | None]) -> None:
        for key, value in given.items():
            if key not in entries:
                entries[key] = _Growing()
            entries[key].add(place, value)

    def extend(self, name: str, entry: str, places: "array[int]", texts: Sequence[bytes]) -> None:
        """Takes one field of the rows at `places`, or one entry in it, as they are written."""
        if name in ("label", "clean"):
            whole = self._label if name == "label" else self._clean
            whole.extend(map(self._numbers.__getitem__, texts))
        elif name in self._tables:
            growing = self._tables[name].setdefault(entry, _Growing())
            growing.extend(places, texts, self._numbers)
        elif name == "broken_by":
            for place, text in zip(places, texts, strict=True):
                stage = None if text == NULL else text[1:-1].decode()
                self._fields[name].add(place, self._breaker(stage))
        elif name in self._fields:
            self._fields[name].extend(places, texts, self._numbers)

    def columns(self) -> Columns:
        """The rows taken so far."""
        count = len(self._label)
        whole = {name: one.grown(count) for name, one in self._fields.items()}
        tables = {
            name: {key: one.grown(count) for key, one in entries.items()}
            for name, entries in self._tables.items()
        }
        return Columns(
            images=_ids(list(self._places)),
            label=_compact(self._label),
            clean=_compact(self._clean),
            target=whole["target"],
            first_wrong=whole["first_wrong"],
            broken_by=whole["broken_by"],
            breakers=tuple(self._breakers),
            pred=tables["pred"],
            first_wrong_by=tables["first_wrong_by"],
            draws=tables["draws"],
        )


def shared_ids(columns: Columns, known: dict[object, Ids]) -> Ids:
    """The columns' ids, as the array of an earlier run that has the same ones, if there is one."""
    ids = columns.images
    key = ids.tobytes() if ids.dtype != object else tuple(ids.tolist())
    return known.setdefault((str(ids.dtype), key), ids)
