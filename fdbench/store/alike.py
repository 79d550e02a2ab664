"""Reads lines that are alike, as nearly all of a run's are, several times as fast as a JSON parser.

Lines differ in their values only. A line that matches the pattern of an earlier row, and whose
check fits the same bytes that `row_digest` hashes, is one that `decode_row` accepts, with the same
values; every other line is left to `decode_row`. Free of torch.
"""

import json
import re
from array import array
from collections.abc import Iterator
from operator import itemgetter

from fdbench.specs import bytes_digest
from fdbench.store.columns import ColumnsBuilder
from fdbench.store.rows import Row

# Values as json.dumps writes them: of any other spelling, the check would be of other bytes.
_WHOLE = rb"(0|-?[1-9][0-9]{0,17})"  # fits 64 bits
_OR_NULL = rb"(null|0|-?[1-9][0-9]{0,17})"
_NAME = rb'("[ !#-\[\]-~]*")'  # nothing that JSON escapes
_NAME_OR_NULL = rb'(null|"[ !#-\[\]-~]*")'
_FLOAT = rb"(-?[0-9]+\.[0-9]+|-?[0-9]+(?:\.[0-9]+)?e[+-][0-9]+)"
_VALUES = {
    "label": _WHOLE,
    "clean": _WHOLE,
    "passes": _WHOLE,
    "target": _OR_NULL,
    "first_wrong": _OR_NULL,
    "distance": _FLOAT,
    "broken_by": _NAME_OR_NULL,
    "shard": _NAME,
    "gave_up": rb"(true|false)",
    "check": rb'"([0-9a-f]{16})"',
}
_ENTRIES = {"pred": _WHOLE, "first_wrong_by": _OR_NULL, "draws": _WHOLE}
_KNOWN = {"image", *_VALUES, *_ENTRIES}
_MARK = "\0"  # before the number of a value, where a value stands
_MARKED = re.compile(r'"\\u0000([0-9]+)"')

_SHAPES = 4  # of a file; a row with other fields is rare
_BATCH = 4096  # lines

Slot = tuple[str, str]  # a field, and an entry in it or ""
Texts = tuple[bytes, ...]  # a line's values, as they stand there


def _slots(row: Row) -> Iterator[tuple[Slot, bytes]]:
    """Each value of a row in the order of its line, with the pattern of such values."""
    for name, value in row.items():
        if name in _ENTRIES:
            assert isinstance(value, dict)
            yield from (((name, entry), _ENTRIES[name]) for entry in value)
        elif name == "image":
            yield (name, ""), _WHOLE if isinstance(value, int) else _NAME
        else:
            yield (name, ""), _VALUES[name]


class Shape:
    """The lines that have the fields of one row, entry for entry."""

    def __init__(self, row: Row, key: str) -> None:
        patterns = dict(_slots(row))
        self.slots = list(patterns)
        marks = {slot: f"{_MARK}{number}" for number, slot in enumerate(self.slots)}
        marked = {
            name: {entry: marks[name, entry] for entry in row[name]}  # type: ignore[literal-required]
            if name in _ENTRIES
            else marks[name, ""]
            for name in row
        }
        texts = _MARKED.split(json.dumps(marked))[::2]
        values = [*patterns.values(), b""]
        spelt = (re.escape(text.encode()) + one for text, one in zip(texts, values, strict=True))
        self._match = re.compile(b"".join(spelt)).fullmatch
        hashed = _MARKED.split(json.dumps({**marked, "check": key}, sort_keys=True))
        self._hashed = "%b".join(text.replace("%", "%%") for text in hashed[::2]).encode()
        self._in_order = itemgetter(*map(int, hashed[1::2]))
        self._check, self._distance = (self.slots.index((n, "")) for n in ("check", "distance"))
        self.image = self.slots.index(("image", ""))

    @classmethod
    def of(cls, row: Row, key: str) -> "Shape | None":
        """The shape of a valid row's line; None if `decode_row` has to read such lines."""
        names = [*row, *(entry for name in _ENTRIES for entry in row.get(name, ()))]  # type: ignore[attr-defined]
        if not key or not row.keys() <= _KNOWN or any(_MARK in name for name in names):
            return None
        return cls(row, key)

    def texts(self, line: bytes) -> Texts | None:
        """The values of a line of this shape that fits its check; else None."""
        found = self._match(line)
        if found is None:
            return None
        texts: Texts = found.groups()
        distance = texts[self._distance]
        if repr(float(distance)).encode() != distance:
            return None
        check = bytes_digest(self._hashed % self._in_order(texts))
        return texts if check.encode() == texts[self._check] else None


class AlikeLines:
    """Takes the lines of one file into columns, as far as they have the shape of a known row."""

    def __init__(self, builder: ColumnsBuilder, key: str) -> None:
        self._builder, self._key = builder, key
        self._shapes: list[Shape] = []  # the last one that matched is the first
        self._lines: list[Texts] = []  # of the first shape
        self._places = array("i")

    def take(self, line: bytes) -> bool | None:
        """Takes a line; False if its image has one already, None if it is not of a known shape."""
        for number, shape in enumerate(self._shapes):
            texts = shape.texts(line)
            if texts is not None:
                if number or len(self._lines) >= _BATCH:
                    self._switch(number)
                return self._keep(texts, texts[shape.image])
        return None

    def _switch(self, number: int) -> None:
        self.flush()
        self._shapes.insert(0, self._shapes.pop(number))

    def _keep(self, texts: Texts, image: bytes) -> bool:
        name = image[1:-1].decode() if image.startswith(b'"') else int(image)
        place = self._builder.place(name)
        if place is None:
            return False
        self._places.append(place)
        self._lines.append(texts)
        return True

    def learn(self, row: Row) -> bool:
        """Takes a valid row, and further lines like it; False if its image has one already."""
        self.flush()
        if len(self._shapes) < _SHAPES and (shape := Shape.of(row, self._key)):
            self._shapes.insert(0, shape)
        return self._builder.add(row)

    def flush(self) -> None:
        """Hands the lines taken so far to the builder."""
        if self._lines:
            columns = zip(self._shapes[0].slots, zip(*self._lines, strict=True), strict=True)
            for (name, entry), texts in columns:
                self._builder.extend(name, entry, self._places, texts)
        self._lines, self._places = [], array("i")
