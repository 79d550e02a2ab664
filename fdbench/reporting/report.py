"""Rows -> whitebox.{csv,md,html}, blackbox.{csv,md}, their figures, and what is printed.

Form only: each number comes from whitebox.py, zoo.py or blackbox.py, through chapters.py; CSV and
Markdown always hold all of them.
"""

import html
import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from string import Template

import click
from pandas import DataFrame
from rich import box
from rich.console import JustifyMethod
from rich.table import Table

from fdbench import console
from fdbench.errors import FdbenchError, unknown
from fdbench.reporting import blackbox, suspicions
from fdbench.reporting.cells import WORDS, fit, words
from fdbench.reporting.chapters import PAIRING, Chapter, Part, Report, build, chapters
from fdbench.reporting.figures import gallery
from fdbench.store import Run, read_findings, read_runs, write_atomically


def _rich(cells: DataFrame) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.show_edge = table.pad_edge = False
    for name in map(str, cells):
        justify: JustifyMethod = "left" if name in WORDS else "right"
        table.add_column("\n".join(words(name)), justify=justify, vertical="top", overflow="fold")
    before = ""
    for model, *others in cells.to_numpy().tolist():
        if before and model != before:
            table.add_section()
        table.add_row("" if model == before else model, *others)
        before = model
    return table


def _show(part: Part, title: str, more: str) -> None:
    """A table under its title; the caption has the terminal's width, not the table's."""
    section = part.section
    whole = section.cells if part.few is None else part.few
    cells, legend = fit(whole, console.out.width, section.shorter)
    shortened = f"{legend.pop()}; all of it: {more}" if legend else ""
    console.out.print(title, style="bold")
    console.out.print(_rich(cells))
    caption = [text for text in (*legend, *part.notes, part.why, shortened) if text]
    console.out.print(*caption, "", style="dim", sep="\n")


def _print_tables(found: Report, results: Path) -> None:
    for chapter in chapters(found):
        more = str(results / f"{chapter.stem}.md")
        for part in chapter.accuracies:
            _show(part, part.section.title, more)
        for part in chapter.differences:
            _show(part, f"Compared: {part.section.title}", more)
        if chapter.differences:
            console.out.print(PAIRING, style="dim")
        console.out.print(chapter.reading, "", style="dim", sep="\n")
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


def _md_part(part: Part) -> str:
    notes = "\n".join(f"- {note}" for note in part.notes) if part.notes[1:] else part.text
    return "\n\n".join(
        text for text in (f"## {part.section.title}", notes, _md_table(part.section.cells)) if text
    )


def _markdown(chapter: Chapter) -> str:
    """A chapter: tables, comparisons, warnings, and how to make it again."""
    parts = [f"# {chapter.heading}", chapter.reading]
    parts += [f"![{chapter.alt}]({chapter.stem}.png)"] if chapter.figure else []
    parts += [f"![Clean and adversarial images]({name})" for name in chapter.examples]
    parts += map(_md_part, chapter.accuracies)
    parts += ["# Compared image by image", PAIRING] if chapter.differences else []
    parts += map(_md_part, chapter.differences)
    told = suspicions.warnings(chapter.runs)
    parts += ["# Warnings", "\n".join(f"- {text}" for text in told)] if told else []
    parts += ["# Runs", _md_table(_run_list(chapter.runs))]
    return "\n\n".join(parts) + "\n"


def markdown(found: Report) -> str:
    """The whole report, chapter by chapter."""
    return "\n".join(map(_markdown, chapters(found)))


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>fdbench</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem; margin: 2rem auto;
       padding: 0 1rem }
section { overflow-x: auto } svg, img { max-width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 1.5rem }
th, td { padding: .25rem .7rem; text-align: right; border: 0; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #888 }
p.note { color: #666 }
</style></head><body>
$body
</body></html>
""")


def _html_table(title: str, notes: Sequence[str], cells: DataFrame) -> str:
    said = "<br>".join(map(html.escape, notes))
    head = f"<h2>{html.escape(title)}</h2><p class=note>{said}</p>"
    return f"<section>{head}{cells.to_html(index=False, border=0)}</section>"


def _html_chapter(chapter: Chapter) -> str:
    svg = chapter.figure.get("svg", b"").decode()
    body = [f"<h1>{chapter.heading}</h1>", f"<p>{html.escape(chapter.reading)}</p>"]
    body += [svg[svg.find("<svg") :]]
    for image in chapter.examples.values():
        data = b64encode(image).decode()
        body += [f'<img alt="Clean and adversarial images" src="data:image/png;base64,{data}">']
    for part in chapter.accuracies:
        body += [_html_table(part.section.title, part.notes, part.section.cells)]
    for part in chapter.differences:
        title = f"Compared: {part.section.title}"
        body += [_html_table(title, (PAIRING, *part.notes), part.section.cells)]
    told = suspicions.warnings(chapter.runs)
    body += [f"<p>Warning: {html.escape(text)}</p>" for text in told]
    note = "How to make these numbers again."
    return "\n".join([*body, _html_table("Runs", [note], _run_list(chapter.runs))])


def page(found: Report) -> str:
    """The report as one file that needs no other."""
    return _PAGE.substitute(body="\n".join(map(_html_chapter, chapters(found))))


def _tables(found: Report) -> dict[str, DataFrame]:
    """All tables by the name of their file; those of a kind of runs there are none of are out."""
    known = {}
    if found.runs:
        known = {"whitebox": found.whitebox, "paired": found.paired, "zoo": found.zoo}
    if found.blind_runs:
        known |= {"blackbox": found.blackbox, "blackbox-curve": found.curve}
        known |= {"blackbox-paired": found.blackbox_paired}
    return {name: table for name, table in known.items() if name != "zoo" or len(table)}


def as_json(found: Report) -> str:
    """All tables as lists of objects, the warnings, and the doctor's findings."""
    empty = {"whitebox": DataFrame(), "paired": DataFrame(), "zoo": found.zoo}
    lines = {
        name: json.loads(table.to_json(orient="records"))
        for name, table in (empty | _tables(found)).items()
    }
    doctor = [asdict(one) for one in found.doctor]
    return json.dumps({**lines, "warnings": found.warnings, "doctor": doctor}, indent=2)


def _print_page(found: Report, results: Path) -> None:
    path = results / "whitebox.html"
    write_atomically(path, page(found))
    click.echo(path)


def _as_csv(found: Report) -> str:
    """The chapters' main tables, an empty line between them."""
    known = _tables(found)
    main = [known[chapter.stem].to_csv(index=False) for chapter in chapters(found)]
    return "\n".join(main)


FORMATS: dict[str, Callable[[Report, Path], None]] = {
    "table": _print_tables,
    "md": lambda found, _: click.echo(markdown(found), nl=False),
    "csv": lambda found, _: click.echo(_as_csv(found), nl=False),
    "html": _print_page,
    "json": lambda found, _: click.echo(as_json(found)),
}


def _contents(found: Report) -> dict[str, str | bytes]:
    """The files of a report, by name."""
    files: dict[str, str | bytes] = {}
    for chapter in chapters(found):
        files[f"{chapter.stem}.md"] = _markdown(chapter)
        files |= {f"{chapter.stem}.{end}": image for end, image in chapter.figure.items()}
    files |= {f"{name}.csv": table.to_csv(index=False) for name, table in _tables(found).items()}
    return files | found.examples | blackbox.matrices(found.blind_runs)


def write_report(results: Path, fmt: str = "table") -> Report:
    """Writes the tables and the figures of all runs under `results`, and prints them as `fmt`.

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
    examples = gallery.render(blackbox.victims(runs), results)
    doctor = tuple(read_findings(results))
    found = replace(build(runs), doctor=doctor, examples=examples)
    contents = _contents(found)
    for name, content in contents.items():
        write_atomically(results / name, content)
    FORMATS[fmt](found, results)
    console.say(f"Written to {results}/: {', '.join(contents)}")
    return found
