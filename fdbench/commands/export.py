"""fdbench export."""

from pathlib import Path

import click

from fdbench import api
from fdbench.commands.options import OneOf, results_option
from fdbench.console import out


@click.command()
@click.argument("kind", type=OneOf(["csv", "parquet", "robustbench", "schema"]))
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("."),
    show_default=True,
    help="Folder to write to.",
)
@results_option
def export(kind: str, output: Path, results: Path) -> None:
    """Write runs for other programs.

    csv and parquet: every row with its run's settings, a line per image and reading. robustbench:
    a JSON file a model in the form of that project's model_info. schema: JSON Schemas of run.json
    and of its rows.
    """
    for path in api.export(kind, results, output):
        out.print(str(path), soft_wrap=True)
