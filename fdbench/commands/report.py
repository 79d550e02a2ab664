"""fdbench report."""

from pathlib import Path
from typing import Any

import click

from fdbench import api
from fdbench.commands.options import OneOf, results_option
from fdbench.errors import BadValue
from fdbench.reporting import RENDERERS


def _labels(pairs: tuple[str, ...]) -> dict[str, str]:
    """Parses `MODEL=LABEL` pairs."""
    for pair in pairs:
        if not all(pair.partition("=")):
            raise BadValue(f"--label {pair!r} is not MODEL=LABEL, as in --label r20=baseline.")
    return {before: after for before, _, after in (pair.rpartition("=") for pair in pairs)}


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--model", "models", multiple=True, help="Only runs of this model; may be repeated.")
@click.option("--data", multiple=True, help="Only runs on this data set; may be repeated.")
@click.option("--attack", "attacks", multiple=True, help="Only runs of this attack.")
@click.option(
    "--select",
    multiple=True,
    metavar="KEY=PATTERN",
    help="Only runs that fit: model, data, attack, norm or eps, as in eps=8/255 or 'model=r20*'; "
    "of one key any, of several all.",
)
@click.option(
    "--claims",
    multiple=True,
    metavar="FILE|DIR",
    type=click.Path(exists=True, path_type=Path),
    help="RobustBench's JSON of these models, to hold beside what was measured; may be repeated.",
)
@click.option("--label", "pairs", multiple=True, metavar="MODEL=LABEL", help="Rename a model.")
@click.option("--latest", is_flag=True, help="Of each model, only the weights attacked last.")
@click.option(
    "--baseline",
    metavar="MODEL",
    help="Compare each model with this one [default: with the best of each table].",
)
@click.option("--paper", is_flag=True, help="Figures in the sizes of two-column papers.")
@click.option("--unfinished", is_flag=True, help="Also runs that lack images.")
@click.option(
    "--format",
    "fmt",
    type=OneOf(list(RENDERERS)),
    default="table",
    show_default=True,
    help="What to print; the files are always written.",
)
@results_option
def report(pairs: tuple[str, ...], fmt: str, results: Path, **wanted: Any) -> None:
    """Write tables and curves of runs.

    With confidence intervals, to --results: of all runs there, or only of those named, by name or
    folder. `fdbench runs archive` keeps a run out of every report.
    """
    api.report(results, fmt, labels=_labels(pairs), **wanted)
