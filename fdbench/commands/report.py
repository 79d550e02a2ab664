"""fdbench report."""

from pathlib import Path

import click

from fdbench import api
from fdbench.commands.options import OneOf, results_option
from fdbench.reporting import RENDERERS


@click.command()
@click.option(
    "--format",
    "fmt",
    type=OneOf(list(RENDERERS)),
    default="table",
    show_default=True,
    help="What to print; the files are always written.",
)
@results_option
def report(fmt: str, results: Path) -> None:
    """Write tables and curves of all runs.

    They have confidence intervals, and are written to results/.
    """
    api.report(results, fmt)
