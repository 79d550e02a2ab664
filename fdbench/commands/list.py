"""fdbench list."""

import json
from pathlib import Path
from typing import Any

import click

from fdbench.commands.options import results_option
from fdbench.console import err, out
from fdbench.specs import batteries, model_recipe, recipe_files
from fdbench.store import Workspace

_json_option = click.option("--json", "as_json", is_flag=True, help="For scripts.")


@click.group(name="list")
def list_group() -> None:
    """Show the models, attacks, data sets or runs there are."""


def _show(rows: list[dict[str, Any]], as_json: bool, empty: str) -> None:
    from rich.table import Table

    if as_json:
        out.print(json.dumps(rows), soft_wrap=True)
        return
    if not rows:
        err.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*[str(value) for value in row.values()])
    out.print(table)


@list_group.command()
@_json_option
@results_option
def models(as_json: bool, results: Path) -> None:
    """Rows of models/ and weights on this disk."""
    on_disk = set(Workspace(results).weights())
    known = recipe_files("models")
    rows = [
        {
            "model": name,
            "weights": "here" if name in on_disk else "-",
            "what": model_recipe(name).summary if name in known else "trained here",
        }
        for name in [*known, *sorted(on_disk - set(known))]
    ]
    _show(rows, as_json, "no model")


_OWN = {
    "pgd": "white-box PGD, linf and l2",
    "autoattack": "AutoAttack: standard, plus, rand, or a list; linf, l2, l1",
    "foolbox": "any of Foolbox's: fdbench list attacks --foolbox",
    "transfer": "black box: surrogates, submissions, or images made elsewhere",
}


@list_group.command()
@click.option("--foolbox", is_flag=True, help="Foolbox's attacks instead, with their norms.")
@_json_option
def attacks(foolbox: bool, as_json: bool) -> None:
    """Attacks, and the batteries of attacks/."""
    if foolbox:
        from fdbench.attacks import foolbox_attacks

        known = [{"attack": a.name, "norm": a.norm, "kind": a.kind} for a in foolbox_attacks()]
        _show(known, as_json, "no attack")
        return
    rows = [
        {"attack": name, "command": f"fdbench attack {name}", "what": what}
        for name, what in _OWN.items()
    ]
    for name, summary, command in batteries():
        rows.append({"attack": name, "command": command, "what": summary})
    _show(rows, as_json, "no attack")


@list_group.command()
@_json_option
def data(as_json: bool) -> None:
    """Data sets, and the forms that name your own."""
    from fdbench.data import DATA

    _show([{"data": name, "what": what} for name, what in DATA.items()], as_json, "no data")


@list_group.command()
@_json_option
@results_option
def runs(as_json: bool, results: Path) -> None:
    """Attacks that were run, finished or not."""
    from fdbench.store import read_runs

    rows = [
        {"run": run.info.name, "images": f"{len(run.rows)}/{run.info.images}"}
        for run in read_runs(Workspace(results))
    ]
    _show(rows, as_json, f"no runs under {results}/runs yet: fdbench attack pgd --iters 100")
