"""Rows -> results/whitebox.{csv,md,html}, paired.csv, zoo.csv, the figure, and what is printed.

Layout only: each number comes from tables.py, and CSV and Markdown always hold all of them.
"""

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import click
from pandas import DataFrame
from rich import box
from rich.console import JustifyMethod
from rich.table import Table

from fdbench import console, figure, tables, zoo
from fdbench.errors import FdbenchError, unknown
from fdbench.files import write_atomically
from fdbench.layout import WORDS, Section, comparisons, fit, sections
from fdbench.record import Run, read_runs

_LONG = 20  # comparisons printed before only those with the first network are
_READING = (
    "Accuracy and success in percent [95 % Wilson interval]. robust: the final iterate is "
    "classified right. any iterate: so is every iterate before it."
)
_PAIRING = (
    "Points gained over `against`, on the same images [95 %, Newcombe 1998, method 10]; "
    "p: McNemar, exact, not corrected for the number of comparisons"
)


@dataclass(frozen=True)
class Report:
    """All that is known from the rows; `figure` by file ending, empty where there is no curve."""

    runs: tuple[Run, ...]
    whitebox: DataFrame
    paired: DataFrame
    zoo: DataFrame
    warnings: tuple[str, ...]
    figure: dict[str, bytes]


def _rich(cells: DataFrame) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.show_edge = table.pad_edge = False
    for name in map(str, cells):
        justify: JustifyMethod = "left" if name in WORDS else "right"
        table.add_column(name.replace(" ", "\n"), justify=justify, vertical="top", overflow="fold")
    before = ""
    for model, *others in cells.to_numpy().tolist():
        if before and model != before:
            table.add_section()
        table.add_row("" if model == before else model, *others)
        before = model
    return table


def _show(title: str, cells: DataFrame, caption: str) -> None:
    """A table under its title; the caption has the terminal's width, not the table's."""
    console.out.print(title, style="bold")
    console.out.print(_rich(cells))
    console.out.print(caption, "", style="dim", sep="\n")


def _zoo_note(section: Section) -> str:
    return f"All rows: {section.same}. {zoo.READING}" if section.same else zoo.READING


def _few(gains: DataFrame) -> tuple[DataFrame, str]:
    """At most _LONG comparisons, or those with the first network."""
    if len(gains) <= _LONG:
        return gains, ""
    first = gains["against"].iloc[0]
    few = gains[gains["against"] == first]
    return few, f"\nOnly those with {first}; all {len(gains)} are in paired.csv"


def _print_tables(found: Report, results: Path) -> None:
    width = console.out.width
    for section in sections(found.whitebox):
        cells, shortened = fit(section.cells, width)
        more = f"\nShortened to {width} columns; all of it: {results / 'whitebox.md'}"
        caption = f"all rows: {section.same}" + (more if shortened else "")
        _show(section.title, cells, caption)
    for section in zoo.sections(found.zoo):
        _show(section.title, section.cells, _zoo_note(section))
    for title, gains in comparisons(found.paired):
        few, note = _few(gains)
        _show(f"Compared: {title}", few, _PAIRING + note)
    console.out.print(_READING, style="dim")
    for text in found.warnings:
        console.out.print(f"Warning: {text}", style="yellow")


def _md_table(cells: DataFrame) -> str:
    def line(texts: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"

    names = [str(name) for name in cells]
    rule = [":--" if name in WORDS else "--:" for name in names]
    return "\n".join([line(names), line(rule), *map(line, cells.to_numpy().tolist())])


def _run_list(runs: Sequence[Run]) -> DataFrame:
    """How each run came about: command, time, hardware and versions."""
    return DataFrame(
        {
            "run": run.name,
            "command": f"`{run.info.command}`",
            "weights": run.info.model.weights[:8],
            "started": run.info.started,
            "seconds": f"{run.info.seconds:.0f}",
            "environment": ", ".join(f"{k} {v}" for k, v in run.info.environment.items() if v),
        }
        for run in runs
    )


def markdown(found: Report) -> str:
    """The whole report: tables, comparisons, warnings, and how to make it again."""
    parts = ["# Robust accuracy", _READING]
    parts += ["![Accuracy against iterations](whitebox.png)"] if found.figure else []
    for section in sections(found.whitebox):
        parts += [f"## {section.title}", f"All rows: {section.same}.", _md_table(section.cells)]
    for section in zoo.sections(found.zoo):
        parts += [f"## {section.title}", _zoo_note(section), _md_table(section.cells)]
    gains = list(comparisons(found.paired))
    parts += ["# Compared image by image", f"{_PAIRING}."] if gains else []
    for title, cells in gains:
        parts += [f"## {title}", _md_table(cells)]
    parts += ["# Warnings", "\n".join(f"- {t}" for t in found.warnings)] if found.warnings else []
    parts += ["# Runs", _md_table(_run_list(found.runs))]
    return "\n\n".join(parts) + "\n"


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>fdbench</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem; margin: 2rem auto;
       padding: 0 1rem }
section { overflow-x: auto } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 1.5rem }
th, td { padding: .25rem .7rem; text-align: right; border: 0; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #888 }
p.note { color: #666 }
</style></head><body>
$body
</body></html>
""")


def page(found: Report) -> str:
    """The report as one file that needs no other."""

    def part(title: str, note: str, cells: DataFrame) -> str:
        head = f"<h2>{html.escape(title)}</h2><p class=note>{html.escape(note)}</p>"
        return f"<section>{head}{cells.to_html(index=False, border=0)}</section>"

    svg = found.figure.get("svg", b"").decode()
    body = ["<h1>Robust accuracy</h1>", f"<p>{html.escape(_READING)}</p>", svg[svg.find("<svg") :]]
    body += [part(s.title, f"All rows: {s.same}.", s.cells) for s in sections(found.whitebox)]
    body += [part(s.title, _zoo_note(s), s.cells) for s in zoo.sections(found.zoo)]
    gains = comparisons(found.paired)
    body += [part(f"Compared: {title}", f"{_PAIRING}.", cells) for title, cells in gains]
    body += [f"<p>Warning: {html.escape(text)}</p>" for text in found.warnings]
    body += [part("Runs", "How to make these numbers again.", _run_list(found.runs))]
    return _PAGE.substitute(body="\n".join(body))


def as_json(found: Report) -> str:
    """All tables as lists of objects, and the warnings."""
    kinds = {"whitebox": found.whitebox, "paired": found.paired, "zoo": found.zoo}
    lines = {name: json.loads(table.to_json(orient="records")) for name, table in kinds.items()}
    return json.dumps({**lines, "warnings": found.warnings}, indent=2)


def _print_page(found: Report, results: Path) -> None:
    path = results / "whitebox.html"
    write_atomically(path, page(found))
    click.echo(path)


FORMATS: dict[str, Callable[[Report, Path], None]] = {
    "table": _print_tables,
    "md": lambda found, _: click.echo(markdown(found), nl=False),
    "csv": lambda found, _: click.echo(found.whitebox.to_csv(index=False), nl=False),
    "html": _print_page,
    "json": lambda found, _: click.echo(as_json(found)),
}


def build(runs: Sequence[Run]) -> Report:
    """All tables of the runs; nothing is read or written."""
    whitebox = tables.whitebox(runs)
    return Report(
        runs=tuple(runs),
        whitebox=whitebox,
        paired=tables.comparisons(runs),
        zoo=zoo.zoo(runs),
        warnings=tuple(tables.warnings(runs)),
        figure=figure.render(whitebox),
    )


def _contents(found: Report) -> dict[str, str | bytes]:
    """The files of a report, by name."""
    files: dict[str, str | bytes] = {
        "whitebox.md": markdown(found),
        "whitebox.csv": found.whitebox.to_csv(index=False),
        "paired.csv": found.paired.to_csv(index=False),
    }
    if not found.zoo.empty:
        files["zoo.csv"] = found.zoo.to_csv(index=False)
    return files | {f"whitebox.{ending}": image for ending, image in found.figure.items()}


def report(results: Path, fmt: str = "table") -> Report:
    """Writes the tables and the figure of all runs under `results`, and prints them as `fmt`.

    Raises FdbenchError where there is no run, or `results` can't be written.
    """
    if fmt not in FORMATS:
        raise unknown("format", fmt, FORMATS)
    runs = read_runs(results)
    if not runs:
        raise FdbenchError(
            f"no runs under {results / 'runs'}: there is nothing to report yet.\n"
            "Type `fdbench train --arch r20 --denoise nonlocal-gauss`, "
            "then `fdbench attack pgd --iters 100`."
        )
    found = build(runs)
    contents = _contents(found)
    for name, content in contents.items():
        write_atomically(results / name, content)
    FORMATS[fmt](found, results)
    console.say(f"Written to {results}/: {', '.join(contents)}")
    return found
