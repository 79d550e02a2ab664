"""Formats numbers as the texts of a table's cells. Free of torch."""

from collections.abc import Iterable

import pandas as pd
from pandas import DataFrame

from fdbench.reporting.document import Column

NONE = "-"  # for a missing number
_WORDS = (
    *("model", "weights", "against", "reading", "attack", "loss", "precision", "note"),
    *("run", "started", "environment", "verdict", "set by", "recipe", "variant"),
)


def missing(value: object) -> bool:
    """Whether a table's cell is empty."""
    return bool(pd.isna(value) or value == "")  # type: ignore[call-overload]


def column(heading: str, texts: Iterable[str]) -> Column:
    """A column; its heading decides whether it holds words or numbers."""
    return Column(heading, tuple(texts), "words" if heading in _WORDS else "numbers")


def number(value: object) -> str:
    """One decimal: finer than the interval of a thousand images."""
    return NONE if missing(value) else f"{value:.1f}" if isinstance(value, float) else str(value)


def signed(value: float) -> str:
    """A difference, with its sign."""
    return NONE if missing(value) else f"{value:+.1f}"


def probability(p: float) -> str:
    """A p-value; below 0.001 only the bound."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def numbers(lines: DataFrame, name: str) -> list[str]:
    """A column of numbers."""
    return [number(value) for value in lines[name]]


def words(lines: DataFrame, name: str) -> list[str]:
    """A column of texts, some of them empty."""
    return ["" if missing(value) else str(value) for value in lines[name]]


def differences(lines: DataFrame, name: str) -> list[str]:
    """A column of differences."""
    return [signed(value) for value in lines[name]]


def intervals(lines: DataFrame, name: str) -> list[str]:
    """`40.0 [30.9, 49.8]`: a score with its interval."""
    ends = zip(lines[name], lines[f"{name}_low"], lines[f"{name}_high"], strict=True)
    return [
        NONE if missing(value) else f"{value:.1f} [{low:.1f}, {high:.1f}]"
        for value, low, high in ends
    ]


def counts(lines: DataFrame) -> list[str]:
    """`100`, or `50/100` for an unfinished run."""
    pairs = zip(lines["n"], lines["planned"], strict=True)
    return [str(n) if n == planned else f"{n}/{planned}" for n, planned in pairs]
