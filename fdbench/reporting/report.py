"""`fdbench report`: reads the runs, writes the tables and figures, prints the report.

Always written: for each chapter NAME.md, NAME.tex and its figure, a CSV for each table, the page,
pictures of adversarial images, and the competition's own files. What an earlier report wrote and
this one has not is removed, so that all files are about the same runs.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from fdbench import console
from fdbench.errors import FdbenchError, unknown
from fdbench.files import is_entry, parse_json, write_atomically
from fdbench.reporting.attack_columns import sees_network
from fdbench.reporting.chapters import build
from fdbench.reporting.document import Report
from fdbench.reporting.figures import (
    accuracy_against_attackers,
    accuracy_against_eps,
    accuracy_against_iterations,
)
from fdbench.reporting.figures.panels import PAPER
from fdbench.reporting.headline import headline
from fdbench.reporting.page.pictures import Clean
from fdbench.reporting.render.csv_tables import csv_table
from fdbench.reporting.render.formats import RENDERERS, Renderer
from fdbench.reporting.render.latex import latex_chapter
from fdbench.reporting.render.markdown import markdown_chapter
from fdbench.reporting.robustbench import entries, entries_in
from fdbench.reporting.selection import ALL, Selection, selected
from fdbench.reporting.whitebox import whitebox
from fdbench.store import Workspace, read_runs

_LIST = "report-files.json"  # what the last report wrote


def _files(report: Report) -> dict[str, str | bytes]:
    """The files of a report, by name."""
    files: dict[str, str | bytes] = {}
    for one in report.chapters:
        files[f"{one.name}.md"] = markdown_chapter(one)
        files[f"{one.name}.tex"] = latex_chapter(one)
        files |= {f"{one.name}.{ending}": image for ending, image in one.figure.items()}
        files |= {f"{name}.csv": csv_table(table) for name, table in one.tables.items()}
        files |= {**one.pictures, **one.files}
    for renderer in RENDERERS.values():
        if renderer.file:
            files[renderer.file] = renderer.load()(report)
    return files


def _replace(workspace: Workspace, files: dict[str, str | bytes]) -> None:
    """Writes the files, and removes those of the last report that this one does not have."""
    known = workspace.table(_LIST)
    before = files_of_report(workspace)
    for name, content in files.items():
        write_atomically(workspace.table(name), content)
    for name in before:
        if name not in files:
            workspace.table(name).unlink(missing_ok=True)
    write_atomically(known, json.dumps(sorted(files), indent=2) + "\n")


def files_of_report(workspace: Workspace) -> list[str]:
    """What the last report wrote: names of files below the results folder, and nowhere else."""
    return [name for name in _listed(workspace.table(_LIST)) if all(map(is_entry, name.split("/")))]


def _listed(path: Path) -> list[str]:
    try:
        names = parse_json(path.read_bytes()) if path.is_file() else []
        return [str(name) for name in names]
    except (ValueError, TypeError) as reason:
        raise FdbenchError(f"{path} is not a list of files: remove it.") from reason


def _for_paper(report: Report) -> Report:
    """The report with its curves drawn anew in the sizes of a paper's columns."""
    tables = report.tables
    drawn = {
        "whitebox": lambda: accuracy_against_iterations.render(tables["whitebox"], PAPER),
        "blackbox": lambda: accuracy_against_attackers.render(
            tables["blackbox-curve"], tables["blackbox"], PAPER
        ),
        "curves": lambda: accuracy_against_eps.render(tables["curves"], PAPER),
    }
    chapters = (
        replace(one, figure=drawn[one.name]()) if one.figure else one for one in report.chapters
    )
    return replace(report, chapters=tuple(chapters))


def _publish(renderer: Renderer, report: Report) -> None:
    """Prints the report, or the path of its file."""
    if renderer.file:
        text = f"{Workspace(report.results).table(renderer.file)}\n"
    else:
        text = renderer.load()(report)
    click.echo(text, nl=False, color=True)  # colours, if any, come from the renderer


def robustbench_files(results: Path) -> Iterator[tuple[str, str]]:
    """The path and the content of a RobustBench file for each network and threat.

    Raises FdbenchError if there is no finished run.
    """
    runs, _ = selected(read_runs(results), ALL)
    if not runs:
        raise FdbenchError(f"no finished run under {Workspace(results).runs}: nothing to export.")
    white = [run for run in runs if sees_network(run.info.attack)]
    yield from entries(headline(runs, ()), whitebox(white))


def write_report(
    results: Path,
    fmt: str | None = "table",
    wanted: Selection = ALL,
    clean_images: Clean | None = None,
    paper: bool = False,
) -> Report:
    """Writes the tables and the figures of the selected runs under `results`, and prints them.

    All files are written whatever is printed: `fmt`, or nothing if it is None;
    `clean_images` finds those beside the adversarial ones that runs kept; with `paper`
    the figures have the sizes of two-column papers. Raises FdbenchError if
    there is no run, or if `results` can't be written; BadValue for a selection without runs.
    """
    if fmt is not None and fmt not in RENDERERS:
        raise unknown("format", fmt, RENDERERS)
    runs = read_runs(results)
    if not runs:
        raise FdbenchError(
            f"no runs under {Workspace(results).runs}: nothing to report yet.\n"
            "Run `fdbench train --arch r20 --denoise nonlocal-gauss`, "
            "then `fdbench attack pgd --iters 100`."
        )
    chosen, notes = selected(runs, wanted)
    if not chosen:
        raise FdbenchError(
            f"no finished run has all that was asked for. {'; '.join(notes)}".strip()
        )
    built = build(results, chosen, notes, wanted.baseline, entries_in(wanted.claims))
    report = replace(built, clean_images=clean_images)
    report = _for_paper(report) if paper else report
    files = _files(report)
    _replace(Workspace(results), files)
    if fmt is not None:
        _publish(RENDERERS[fmt], report)
    console.say(f"Written to {results}/: {', '.join(files)}")
    return report
