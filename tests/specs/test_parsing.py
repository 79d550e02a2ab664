"""Parsed JSON is checked against annotations, all the way down."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from fdbench.errors import FdbenchError
from fdbench.specs.parsing import check_of, parsed


@dataclass(frozen=True)
class Part:
    name: str
    sizes: tuple[int, ...] = ()


FITS: list[tuple[Any, list[object], list[object]]] = [
    (int, [0, -3], [True, 1.0, "1", None]),
    (float, [0, 1.5], [True, "1", None]),
    (bool, [True, False], [0, 1, None]),
    (str | None, ["", None], [0, False]),
    (dict[str, int | None], [{}, {"a": None, "b": 2}], [[], {"a": "b"}, {"a": True}]),
    (Mapping[str, Any], [{}, {"a": [{}]}], [[], None]),
    (Mapping[str, object], [{"a": None}], ["a"]),
    (list[str], [[], ["a"]], ["ab", ["a", 1], ("a",)]),
    (tuple[int | str, ...], [(), (1, "a")], [[1], (1.5,)]),
    (list[dict[str, int]], [[], [{"a": 1}]], [[{"a": "b"}], [[]]]),
    (tuple[Part, ...] | None, [None, (), (Part("a"),)], [("a",)]),
    (Part, [Part("a")], ["a", {}]),
]


@pytest.mark.parametrize(("kind", "good", "bad"), FITS, ids=[str(kind) for kind, *_ in FITS])
def test_a_kind_takes_what_fits_it_and_nothing_else(
    kind: Any, good: list[object], bad: list[object]
) -> None:
    assert [check_of(kind)(value) for value in good] == [True] * len(good)
    assert [check_of(kind)(value) for value in bad] == [False] * len(bad)


def test_a_kind_that_cant_be_checked_is_an_error() -> None:
    with pytest.raises(TypeError, match="no check for values of the kind"):
        check_of(Literal["a"])


def test_a_table_becomes_a_dataclass() -> None:
    assert parsed(Part, {"name": "a", "sizes": [1, 2]}, "here") == Part("a", (1, 2))


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ([], "here: expected a table"),
        ({"name": 3}, "here: name can't be 3"),
        ({"name": "a", "sizes": [1, "b"]}, "here: sizes can't be"),
        ({"sizes": []}, "here is incomplete"),
        ({"name": "a", "size": 1}, "no key in here 'size'. Did you mean 'sizes'"),
    ],
)
def test_a_malformed_table_is_refused_with_its_place(table: object, why: str) -> None:
    with pytest.raises(FdbenchError, match=why):
        parsed(Part, table, "here")
