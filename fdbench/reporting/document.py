"""The report as data, the input of every renderer: chapters of parts, and parts of cells.

Cells are text already, so that a number looks the same in every format; the numbers themselves are
in the chapters' tables. Names and messages may come from other people's files: here they become one
printable line each. Free of torch, and of any format.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pandas import DataFrame

from fdbench.printable import one_line
from fdbench.reporting.setting import Setting
from fdbench.store import Findings, Run

# Of a part.
Kind = Literal["whitebox", "blackbox", "authors", "comparison", "recipes", "paper", "headline"]


@dataclass(frozen=True)
class Column:
    """A column of text: numbers, which are right-aligned, words, or code.

    Columns of one `group` belong together, as those of a set's attackers do.
    """

    heading: str
    texts: tuple[str, ...]
    holds: Literal["numbers", "words", "code"] = "numbers"
    group: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "heading", one_line(self.heading))
        object.__setattr__(self, "texts", tuple(map(one_line, self.texts)))


@dataclass(frozen=True)
class Cells:
    """A table as text."""

    columns: tuple[Column, ...]

    @property
    def headings(self) -> list[str]:
        """The columns' headings."""
        return [column.heading for column in self.columns]

    @property
    def lines(self) -> list[tuple[str, ...]]:
        """The table line by line."""
        return list(zip(*(column.texts for column in self.columns), strict=True))

    def __getitem__(self, heading: str) -> tuple[str, ...]:
        """The texts under a heading."""
        return self.columns[self.headings.index(heading)].texts

    def without(self, headings: Sequence[str]) -> "Cells":
        """The table without some of its columns."""
        return Cells(tuple(one for one in self.columns if one.heading not in headings))

    def where(self, kept: Sequence[bool]) -> "Cells":
        """The lines at which `kept` is true."""
        chosen = [place for place, keep in enumerate(kept) if keep]
        columns = (replace(c, texts=tuple(c.texts[i] for i in chosen)) for c in self.columns)
        return Cells(tuple(columns))


@dataclass(frozen=True)
class Part:
    """One table of a chapter: the lines of one setting.

    `same` is what all of its lines share, `setting` their data and threat, and `weights` are the
    first digits of the hashes of all networks in it. Its numbers are in the CSV `file`.
    """

    kind: Kind
    title: str
    cells: Cells
    same: str = ""
    notes: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    setting: Setting | None = None
    file: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", one_line(self.title))

    @property
    def caption(self) -> tuple[str, ...]:
        """The lines to print with the table."""
        lines = (*([f"All rows: {self.same}."] if self.same else []), *self.notes)
        return tuple(map(one_line, lines))

    def noting(self, notes: Iterable[str]) -> "Part":
        """The part with further notes."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class Chapter:
    """White box, black box, or the headline of both.

    `name` names its Markdown file, its figure and its main table. A chapter without a curve has no
    figure. `pictures` and `files` are written next to it.
    """

    name: str
    heading: str
    reading: str  # how to read its accuracies
    accuracies: tuple[Part, ...]
    tables: Mapping[str, DataFrame]  # all numbers, by the name of their CSV; the main one first
    comparing: str = ""  # how to read its comparisons
    comparisons: tuple[Part, ...] = ()
    runs: Cells = Cells(())  # how each run was made
    warnings: tuple[str, ...] = ()
    alt: str = ""  # what the figure shows
    figure: Mapping[str, bytes] = field(default_factory=dict)  # by file ending
    pictures: Mapping[str, bytes] = field(default_factory=dict)  # by file name
    files: Mapping[str, str] = field(default_factory=dict)  # in other programs' formats, by path

    def __post_init__(self) -> None:
        object.__setattr__(self, "warnings", tuple(map(one_line, self.warnings)))
        object.__setattr__(self, "alt", one_line(self.alt))


@dataclass(frozen=True)
class Report:
    """All chapters that have runs, and what concerns all of them.

    `runs` are what it is about, for formats that show single images; `clean_images` finds a run's
    clean images (page/pictures.py), where the caller can open data.
    """

    results: Path  # where its files go
    chapters: tuple[Chapter, ...]
    warnings: tuple[str, ...]
    doctor: tuple[Findings, ...]
    runs: tuple[Run, ...] = ()
    clean_images: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "warnings", tuple(map(one_line, self.warnings)))

    @property
    def tables(self) -> dict[str, DataFrame]:
        """The numbers of all chapters, by the name of their CSV."""
        return {name: table for one in self.chapters for name, table in one.tables.items()}
