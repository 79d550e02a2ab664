"""fdbench info."""

import json
from pathlib import Path

import click

from fdbench import api
from fdbench.commands.options import results_option
from fdbench.console import out


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@results_option
def info(as_json: bool, results: Path) -> None:
    """Show versions, devices, and the weights and caches found on this disk.

    Nothing is looked up elsewhere. Paste it into a report of a bug.
    """
    facts = api.information(results)
    if as_json:
        out.print(json.dumps(facts), soft_wrap=True)
        return
    for name, value in facts.items():
        out.print(f"{name:<18} {value}", highlight=False, soft_wrap=True)
