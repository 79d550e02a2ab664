"""A row, the outcome of one image under one attack (contract C5): its schema, and its JSON line.

`Row` is the schema. Its fields are checked wherever a row is read or written, and mypy checks the
code that uses them. Attacks may add fields of their own, which pass unchecked. Free of torch.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NotRequired, TypedDict, cast, get_args, get_type_hints

from fdbench.files import parse_json
from fdbench.randomness import ImageId
from fdbench.specs import check_of, digest


class Row(TypedDict):
    """One image under one attack. `pred` has an entry for each reading of the attack."""

    image: Annotated[ImageId, "its index in the data set, or its file's name"]
    label: Annotated[int, "the true class"]
    target: NotRequired[Annotated[int | None, "the class the attacker wants; null if untargeted"]]
    clean: Annotated[int, "the class predicted for the clean image"]
    pred: Annotated[dict[str, int], "the class predicted after the attack, by budget or attack"]
    distance: Annotated[float, "from the clean image to the last reading, in the attack's norm"]
    first_wrong: NotRequired[Annotated[int | None, "the last reading's first wrong iterate"]]
    first_wrong_by: NotRequired[Annotated[dict[str, int | None], "the same, for every reading"]]
    broken_by: NotRequired[Annotated[str | None, "the attack's stage that broke it, or clean"]]
    passes: NotRequired[Annotated[int, "forward and backward passes spent on the image"]]
    draws: NotRequired[
        Annotated[dict[str, int], "of a random network: in how many passes it is right"]
    ]
    gave_up: NotRequired[Annotated[bool, "Foolbox's attack raised, or returned no image"]]
    unattacked: NotRequired[Annotated[list[str], "attackers that failed; the clean image counts"]]
    shard: NotRequired[Annotated[str, "the file under adv/ that holds its adversarial images"]]
    check: NotRequired[Annotated[str, "digest of the run and all other fields; not in old rows"]]


@dataclass(frozen=True)
class RowField:
    """The schema of one field."""

    kind: object  # an annotation
    required: bool
    meaning: str

    @property
    def kind_name(self) -> str:
        """`int`, `dict[str, int]`, `int | None`."""
        return self.kind.__name__ if isinstance(self.kind, type) else str(self.kind)


def _schema() -> dict[str, RowField]:
    kinds, annotated = get_type_hints(Row), get_type_hints(Row, include_extras=True)
    schema = {}
    for name, kind in kinds.items():
        required = name in Row.__required_keys__
        hint = annotated[name] if required else get_args(annotated[name])[0]  # out of NotRequired
        schema[name] = RowField(kind, required, meaning=hint.__metadata__[0])
    return schema


ROW_FIELDS = _schema()
_REQUIRED = tuple(name for name, field in ROW_FIELDS.items() if field.required)
_CHECKS = {name: check_of(field.kind) for name, field in ROW_FIELDS.items()}


class BadRow(ValueError):
    """Why a line is not a row; the text completes "line 3 ..."."""


def add_fields(row: Row, further: Mapping[str, object]) -> None:
    """Adds the attack's own fields. Raises ValueError for a field that every row has."""
    if reserved := further.keys() & Row.__required_keys__:
        raise ValueError(f"an attack can't add {', '.join(sorted(reserved))}: every row has that")
    cast(dict[str, object], row).update(further)


def row_digest(row: Row, run: str = "") -> str:
    """The value of the row's `check`: 16 hex digits that change with any other field.

    Args:
        run: RunInfo.key, so that a row of another run has another check; runs of earlier formats
            have none.
    """
    content = {name: value for name, value in row.items() if name != "check"}
    return digest({**content, "check": run} if run else content)


def _checked(row: object) -> Row:
    """Returns the row if it fits the schema. Raises BadRow."""
    if not isinstance(row, dict):
        raise BadRow(f"is not a row: {row!r}")
    if missing := [name for name in _REQUIRED if name not in row]:
        raise BadRow(f"lacks {', '.join(missing)}")
    for name, value in row.items():
        if name in _CHECKS and not _CHECKS[name](value):
            raise BadRow(f"has {name} {value!r}: expected {ROW_FIELDS[name].kind_name}")
    if not math.isfinite(row["distance"]):
        raise BadRow(f"has the distance {row['distance']}")
    if not row["pred"]:
        raise BadRow("has no prediction")
    return cast(Row, row)


def encode_row(row: Row) -> bytes:
    """The row as a line, without newline. Raises BadRow for one that could not be read back."""
    try:
        line = json.dumps(_checked(row), allow_nan=False).encode()
    except (TypeError, ValueError) as reason:
        raise BadRow(f"can't be written: it {reason}") from reason
    try:
        parse_json(line)
    except ValueError as reason:
        raise BadRow(f"can't be written: {reason}") from reason
    return line


def decode_row(line: bytes, run: str = "", *, strict: bool = False) -> Row:
    """The row in a line, without newline. Raises BadRow.

    Args:
        run: RunInfo.key. With one, every row must have its check; a row of an earlier format may
            lack one unless it names a shard.
        strict: also refuse a row whose bytes differ from those of encode_row.
    """
    try:
        table = parse_json(line)
    except ValueError as reason:
        raise BadRow(f"is not a row: {reason}") from reason
    row = _checked(table)
    if strict and json.dumps(row).encode() != line:
        raise BadRow("is not as it was written")
    if (run or "shard" in row or "check" in row) and row.get("check") != row_digest(row, run):
        raise BadRow("does not fit its check")
    return row
