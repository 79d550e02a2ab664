"""Tables for a terminal, shortened to fit; a line below names the file with the full table.

A table that is too wide loses columns or intervals, in the order of SHORTENING.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich import box
from rich.console import JustifyMethod
from rich.table import Table

from fdbench import console
from fdbench.reporting.all_or_nothing import ALL, SPARE
from fdbench.reporting.document import Cells, Kind, Part, Report
from fdbench.reporting.parts import ATTACKERS

Shortened = tuple[Cells, str]  # and a legend, where one is needed

_LONG = 20  # comparisons; of more, only the first are shown
_NUMBERED = 8  # columns that fit a narrow terminal if numbers replace their headings


def _drop(cells: Cells, names: Sequence[str]) -> Shortened:
    return cells.without(names), ""


def _bare(text: str) -> str:
    return text.split(" [")[0].split(" ±")[0]


def _plain(cells: Cells, names: Sequence[str]) -> Shortened:
    """Scores without their intervals."""
    columns = tuple(
        replace(one, texts=tuple(_bare(text) for text in one.texts))
        if one.heading in names
        else one
        for one in cells.columns
    )
    return Cells(columns), ""


_INTERVAL = re.compile(r"(\d+\.\d) \[(\d+\.\d), (\d+\.\d)\]")


def halved(text: str) -> str:
    """`54.0 ±3.1`, of `54.0 [50.9, 57.1]`: the longer half of the interval."""
    match = _INTERVAL.fullmatch(text)
    if match is None:
        return text
    value, low, high = map(float, match.groups())
    return f"{value:.1f} ±{max(value - low, high - value):.1f}"


def _half(cells: Cells, names: Sequence[str]) -> Shortened:
    """Scores with half of their interval's width."""
    columns = tuple(
        replace(one, texts=tuple(map(halved, one.texts))) if one.heading in names else one
        for one in cells.columns
    )
    return Cells(columns), "±: the longer half of the 95 % interval"


def _number(cells: Cells, names: Sequence[str]) -> Shortened:
    """Replaces headings by numbers, with a legend; drops the columns if there are too many."""
    if len(names) > _NUMBERED:
        return _drop(cells, names)
    numbers = {name: str(i) for i, name in enumerate(names, 1)}
    columns = (replace(one, heading=numbers.get(one.heading, one.heading)) for one in cells.columns)
    return Cells(tuple(columns)), ", ".join(f"{i} {name}" for name, i in numbers.items())


_Step = tuple[tuple[str, ...], Callable[[Cells, Sequence[str]], Shortened]]
# Which columns, or groups of columns, to shorten and how, step by step until a table fits.
SHORTENING: dict[Kind, tuple[_Step, ...]] = {
    "whitebox": (
        (("published clean",), _drop),
        (("published success",), _drop),
        (("any iterate",), _half),
        (("success",), _half),
        (("clean",), _half),
        (("any iterate",), _plain),
        (("success",), _plain),
        (("clean",), _plain),
        (("any iterate",), _drop),
        (("alpha",), _drop),
        (("difference",), _drop),
        (("published",), _drop),
        (("success",), _drop),
    ),
    "blackbox": (
        (("success",), _half),
        ((ATTACKERS,), _half),
        (("clean", SPARE), _half),
        (("success",), _plain),
        ((ATTACKERS,), _plain),
        (("clean", SPARE), _plain),
        ((ATTACKERS,), _number),
        (("difference",), _drop),
        ((ALL,), _plain),
        (("published",), _drop),
    ),
    "authors": (),
    "comparison": ((("needed",), _drop), (("p",), _drop), (("interval",), _drop)),
    "recipes": (
        (("over images",), _drop),
        (("needed",), _drop),
        (("deviation",), _drop),
        (("over trainings",), _drop),
        (("p",), _drop),
    ),
    "paper": ((("95 %",), _drop),),
    "headline": (
        (("attack",), _drop),
        (("clean",), _half),
        (("best known",), _half),
        (("clean",), _plain),
        (("set by",), _drop),
        (("best known",), _plain),
    ),
}


def _words(heading: str) -> list[str]:
    """A heading's words: it may break at spaces and after hyphens."""
    return heading.replace("-", "- ").split()


def _width(cells: Cells) -> int:
    """The table's width in characters, with headings broken and two spaces per column."""
    widest = [max(map(len, [*_words(one.heading), *one.texts])) for one in cells.columns]
    return sum(widest) + 2 * len(widest)


def _halves(cells: Cells) -> bool:
    return any("±" in text for one in cells.columns for text in one.texts)


def fit(cells: Cells, kind: Kind, width: int) -> tuple[Cells, list[str]]:
    """The table in `width` characters, and the lines to print below it if it was shortened."""
    legends: list[str] = []
    shortened = False
    for names, shorten in SHORTENING[kind]:
        present = [c.heading for c in cells.columns if c.heading in names or c.group in names]
        if present and _width(cells) > width:
            cells, legend = shorten(cells, present)
            legends, shortened = [*legends, legend], True
    below = [
        text for text in dict.fromkeys(legends) if text and ("±" not in text or _halves(cells))
    ]
    return cells, [*below, f"Shortened to {width} columns"] if shortened else below


def _first(part: Part, whole: str) -> tuple[Cells, str]:
    """Of many comparisons the first ones; and a note."""
    count = len(part.cells.lines)
    if part.kind != "comparison" or count <= _LONG:
        return part.cells, ""
    few = part.cells.where([place < _LONG for place in range(count)])
    return few, f"The first {_LONG} of {count}; all are in {whole}"


def _rich(cells: Cells) -> Table:
    """The table as a rich Table; a network is named on the first of its lines only."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.show_edge = table.pad_edge = False
    for column in cells.columns:
        heading = "\n".join(_words(column.heading))
        side: JustifyMethod = "right" if column.holds == "numbers" else "left"
        table.add_column(heading, justify=side, vertical="top", overflow="fold")
    before = ""
    for model, *others in cells.lines:
        if before and model != before:
            table.add_section()
        table.add_row("" if model == before else model, *others)
        before = model
    return table


def _print_part(part: Part, title: str, whole: str) -> None:
    """Prints a table under its title; the caption has the terminal's width, not the table's."""
    few, note = _first(part, whole)
    cells, legend = fit(few, part.kind, console.out.width)
    shortened = f"{legend.pop()}; in full: {whole}" if legend else ""
    caption = [text for text in (*legend, *part.caption, note, shortened) if text]
    console.out.print(title, style="bold")
    console.out.print(_rich(cells))
    console.out.print(*caption, "", style="dim", sep="\n")


def parts_text(parts: Sequence[Part], reading: str, worst: str) -> str:
    """Some tables by themselves, how to read them, and what is known at worst."""
    with console.out.capture() as captured:
        for part in parts:
            _print_part(part, part.title, "--json")
        console.out.print(reading, style="dim")
        console.out.print(f"\n{worst}")
    return captured.get()


def terminal_text(report: Report) -> str:
    """All tables, the comparisons and the warnings, in the colours that this terminal supports."""
    with console.out.capture() as captured:
        for chapter in report.chapters:
            whole = str(report.results / f"{chapter.name}.md")
            for part in chapter.accuracies:
                _print_part(part, part.title, whole)
            for part in chapter.comparisons:
                _print_part(part, f"Compared: {part.title}", whole)
            if chapter.comparisons:
                console.out.print(chapter.comparing, style="dim")
            console.out.print(chapter.reading, "", style="dim", sep="\n")
        for text in report.warnings:
            console.out.print(f"Warning: {text}", style="yellow")
    return captured.get()
