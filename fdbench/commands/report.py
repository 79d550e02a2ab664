"""fdbench report."""

from pathlib import Path

import click

from fdbench import api
from fdbench.commands.options import results_option
from fdbench.reporting import RENDERERS


@click.command()
@click.option(
    "--format",
    "fmt",
    type=click.Choice(list(RENDERERS)),
    default="table",
    show_default=True,
    help="What is printed; the files are written in any case.",
)
@results_option
def report(fmt: str, results: Path) -> None:
    """Tables and curves of all runs, with intervals, into results/."""
    api.report(results, fmt)
