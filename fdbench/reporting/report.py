"""`fdbench report`: reads all runs, writes the tables and figures, prints the report.

Always written: for each chapter NAME.md and its figure, a CSV for each table, pictures of
adversarial images, and the competition's own files.
"""

from pathlib import Path

import click

from fdbench import console
from fdbench.errors import FdbenchError, unknown
from fdbench.files import write_atomically
from fdbench.reporting.chapters import build
from fdbench.reporting.document import Report
from fdbench.reporting.render.csv_tables import csv_table
from fdbench.reporting.render.formats import RENDERERS, Renderer
from fdbench.reporting.render.markdown import markdown_chapter
from fdbench.store import Workspace, read_runs


def _files(report: Report) -> dict[str, str | bytes]:
    """The files of a report, by name."""
    files: dict[str, str | bytes] = {}
    for one in report.chapters:
        files[f"{one.name}.md"] = markdown_chapter(one)
        files |= {f"{one.name}.{ending}": image for ending, image in one.figure.items()}
        files |= {f"{name}.csv": csv_table(table) for name, table in one.tables.items()}
        files |= {**one.pictures, **one.files}
    return files


def _publish(renderer: Renderer, report: Report) -> None:
    """Prints the report, or writes its file and prints the path."""
    text = renderer.load()(report)
    if renderer.file:
        path = Workspace(report.results).table(renderer.file)
        write_atomically(path, text)
        text = f"{path}\n"
    click.echo(text, nl=False, color=True)  # colours, if any, come from the renderer


def write_report(results: Path, fmt: str | None = "table") -> Report:
    """Writes the tables and the figures of all runs under `results`, and prints them as `fmt`.

    Nothing is printed if `fmt` is None. Raises FdbenchError if there is no run, or if `results`
    can't be written.
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
    report = build(results, runs)
    files = _files(report)
    for name, content in files.items():
        write_atomically(Workspace(results).table(name), content)
    if fmt is not None:
        _publish(RENDERERS[fmt], report)
    console.say(f"Written to {results}/: {', '.join(files)}")
    return report
