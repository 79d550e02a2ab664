"""fdbench list."""

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from fdbench import api, reporting, store
from fdbench.commands.options import Named, results_option
from fdbench.console import err, out
from fdbench.specs import batteries, model_recipe, recipe_files
from fdbench.store import Workspace

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(name="list", cls=Named)
def list_group() -> None:
    """List models, attacks, data sets or runs."""


def _show(rows: list[dict[str, Any]], as_json: bool, empty: str) -> None:
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
    """List rows of models/, weights on this disk, and networks of installed packages."""
    on_disk, known = Workspace(results).weights(), recipe_files("models")
    rows = [
        {
            "model": name,
            "weights": "here" if name in on_disk else "-",
            "what": model_recipe(name).summary if name in known else "trained here",
        }
        for name in [*known, *sorted(set(on_disk) - set(known))]
    ]
    offered = {"weights": "its own", "what": "offered by an installed package"}
    rows += [{"model": name, **offered} for name in api.choices("models")]
    _show(rows, as_json, "no model")


@list_group.command()
@click.option("--foolbox", is_flag=True, help="Foolbox's attacks instead, with their norms.")
@_json_option
def attacks(foolbox: bool, as_json: bool) -> None:
    """List attacks, and the batteries of attacks/."""
    if foolbox:
        _show(api.foolbox_list(), as_json, "no attack")
        return
    rows = [
        {"attack": name, "command": f"fdbench attack {name}", "what": what}
        for name, what in api.attack_summaries().items()
    ]
    for name, summary, command in batteries():
        rows.append({"attack": name, "command": command, "what": summary})
    _show(rows, as_json, "no attack")


@list_group.command()
@_json_option
def data(as_json: bool) -> None:
    """List data sets, and the forms that name your own."""
    _show(api.data_kinds(), as_json, "no data")


def _accuracies(run: "store.Run") -> dict[str, str]:
    """Clean and robust accuracy in percent, at each budget or under each attacker."""
    records = [record for record in reporting.result_records(run) if record["robust"] is not None]
    clean = f"{records[-1]['clean']:.1f}" if records else "-"
    return {"clean": clean, "robust": ", ".join(f"{one['robust']:.1f}" for one in records) or "-"}


@list_group.command()
@click.option(
    "--arch", required=True, help="tv:NAME, timm:NAME, FILE.py:FUNCTION; weights are not needed."
)
@click.option("--px", type=click.IntRange(min=8), help="Side of the images [default: 224].")
@click.option("--denoise", default="nonlocal-gauss", show_default=True, help="The kind of block.")
@click.option("--all", "single", is_flag=True, help="Also single layers, not only whole blocks.")
@_json_option
def layers(arch: str, px: int | None, denoise: str, single: bool, as_json: bool) -> None:
    """List where denoising blocks can go in a network, and how large they are there."""
    found = api.layers(arch, px, denoise)
    rows = [one for one in found if one.pop("whole") or single]
    _show(rows, as_json, f"no place for a block in {arch}")


@list_group.command()
@_json_option
@results_option
def runs(as_json: bool, results: Path) -> None:
    """List runs, finished or not."""
    rows = [
        {
            "run": run.name,
            "images": f"{len(run.columns)}/{run.info.images}",
            **_accuracies(run),
            "started": run.info.started[:16].replace("T", " "),
        }
        for run in store.read_runs(Workspace(results))
    ]
    _show(rows, as_json, f"no runs under {results}/runs yet: fdbench attack pgd --iters 100")
