"""Checks JSON values against annotations; parses tables into dataclasses. Free of torch."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin

from fdbench.errors import FdbenchError
from fdbench.specs.plain import strict

_T = TypeVar("_T")

Check = Callable[[object], bool]

# Python types of JSON values by annotation: 1 is a valid float, true is not a number.
_PLAIN: dict[object, frozenset[type]] = {
    bool: frozenset({bool}),
    float: frozenset({int, float}),
    int: frozenset({int}),
    str: frozenset({str}),
    NoneType: frozenset({NoneType}),
}


def _plain_types(kind: object) -> frozenset[type]:
    """The Python types allowed by a scalar annotation; empty for lists and tables."""
    parts = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    plain = [_PLAIN.get(part, frozenset()) for part in parts]
    return frozenset().union(*plain) if all(plain) else frozenset()


def check_of(kind: object) -> Check:
    """Returns a test that a value, including lists' and tables' items, fits an annotation."""
    if kind is Any or kind is object:
        return lambda value: True
    if types := _plain_types(kind):
        return lambda value: type(value) in types
    if isinstance(kind, UnionType):
        checks = [check_of(part) for part in get_args(kind)]
        return lambda value: any(check(value) for check in checks)
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if isinstance(origin, type) and not parts:
        return lambda value: isinstance(value, origin)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        items = _check_of_all(parts[1])  # JSON's keys are always text
        return lambda value: isinstance(value, origin) and items(value.values())
    if isinstance(origin, type) and issubclass(origin, list | tuple):
        items = _check_of_all(parts[0])  # list[int], tuple[int, ...]
        return lambda value: isinstance(value, origin) and items(value)
    raise TypeError(f"no check for values of the kind {kind!r}")


def _check_of_all(kind: object) -> Callable[[Iterable[object]], bool]:
    """Returns a test that all values fit an annotation."""
    if types := _plain_types(kind):
        return lambda values: types.issuperset(map(type, values))
    check = check_of(kind)
    return lambda values: all(map(check, values))


def parsed(cls: type[_T], table: object, where: str) -> _T:
    """Returns `table` as a `cls`. Raises FdbenchError for a wrong, missing or unknown field."""
    if not isinstance(table, dict):
        raise FdbenchError(f"{where}: expected a table, got {table!r}.")
    values = strict(cls, table, where)
    for one in fields(cls):  # type: ignore[arg-type]
        if one.name in values and not check_of(one.type)(values[one.name]):
            raise FdbenchError(f"{where}: {one.name} can't be {values[one.name]!r}.")
    try:
        return cls(**values)
    except TypeError as reason:  # a field is missing
        raise FdbenchError(f"{where} is incomplete: {reason}") from reason
