"""Tables of JSON as dataclasses, with every field of its kind. Free of torch."""

from dataclasses import fields
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from fdbench.errors import FdbenchError
from fdbench.specs import strict

_T = TypeVar("_T")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value from JSON is of an annotation's outermost kind; an int may stand for 1.0."""
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    plain = tuple(get_origin(one) or one for one in kinds)
    return isinstance(value, (*plain, int) if float in plain else plain)


def parsed(cls: type[_T], table: Any, where: str) -> _T:
    """`table` as the dataclass `cls`; a wrong, missing or unknown field is an error."""
    if not isinstance(table, dict):
        raise FdbenchError(f"{where}: expected a table, found {table!r}.")
    values = strict(cls, table, where)
    for one in fields(cls):  # type: ignore[arg-type]
        if one.name in values and not _fits(values[one.name], one.type):
            raise FdbenchError(f"{where}: {one.name} can't be {values[one.name]!r}.")
    try:
        return cls(**values)
    except TypeError as reason:  # a field is missing
        raise FdbenchError(f"{where} is incomplete: {reason}") from reason
