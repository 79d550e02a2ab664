"""fdbench runs."""

from pathlib import Path

import click

from fdbench import api
from fdbench.commands.options import results_option
from fdbench.console import out
from fdbench.store import Workspace, archive_run, remove_run

_runs = click.argument("runs", nargs=-1, required=True, metavar="RUN...")


@click.group()
def runs() -> None:
    """Archive or remove runs; `fdbench list runs` shows them."""


@runs.command()
@_runs
@results_option
def archive(runs: tuple[str, ...], results: Path) -> None:
    """Move runs to archive/, out of every report.

    RUN is a run's folder, or its name under --results. To have it back, move its folder to runs/.
    """
    for folder in [api.run_folder(run, results) for run in runs]:
        out.print(str(archive_run(Workspace(results), folder)), soft_wrap=True)


@runs.command()
@_runs
@click.option("--yes", is_flag=True, help="Don't ask.")
@results_option
def rm(runs: tuple[str, ...], yes: bool, results: Path) -> None:
    """Remove runs for good, with their images.

    RUN is a run's folder, or its name under --results.
    """
    folders = [api.run_folder(run, results) for run in runs]
    if not yes:
        names = "\n".join(f"  {folder.name}" for folder in folders)
        click.confirm(f"Remove for good:\n{names}\n?", abort=True, err=True)
    for folder in folders:
        remove_run(folder)
        out.print(str(folder), soft_wrap=True)
