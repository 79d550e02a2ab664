"""The output of attack commands: their results and the run folders, or both as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from fdbench import api
from fdbench.console import out, say
from fdbench.errors import SanityFailed
from fdbench.units import print_size

_TARGETED = "robust accuracy under a *targeted* attack; leaderboards mean untargeted (--untargeted)"


def described(folder: Path) -> dict[str, Any]:
    """The content of run.json, with the run's results."""
    plain: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return {**plain, "results": api.results_of(folder)}


def show_runs(folders: Sequence[Path], as_json: bool) -> None:
    """Prints the results and then the run folders, one per line; or all of it as JSON."""
    if as_json:
        show_json(folders)
        return
    show_results(folders)
    show_folders(folders)


def show_json(folders: Sequence[Path]) -> None:
    """Prints the runs and their results as JSON."""
    out.print(json.dumps([described(folder) for folder in folders]), soft_wrap=True)


def show_folders(folders: Sequence[Path]) -> None:
    """Prints the run folders, one per line."""
    for folder in folders:
        out.print(str(folder), soft_wrap=True)


def show_results(folders: Sequence[Path]) -> None:
    """Prints a line for each model and budget, or attacker."""
    records = [record for folder in folders for record in api.results_of(folder)]
    if not records:
        return
    success = any(record["targeted"] for record in records)
    radii = len({record["eps"] for record in records}) > 1
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "attack"):
        table.add_column(heading, overflow="fold")
    if radii:
        table.add_column("eps", justify="right", no_wrap=True)
    for heading in ("n", "clean %", "robust % [95 %]", *(["success %"] if success else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for record in records:
        cells = [record["model"], _attack(record)]
        cells += [print_size(record["eps"], record["norm"])] if radii else []
        cells += [_count(record), _score(record, "clean", False)]
        cells += [_score(record, "robust")] + ([_score(record, "success")] if success else [])
        table.add_row(*cells)
    out.print(table)
    show_stages(records)
    if success:
        say(_TARGETED)


def show_stages(records: Sequence[Mapping[str, Any]]) -> None:
    """Prints what AutoAttack's attacks left, one after the other."""
    for record in records:
        if record["stages"]:
            after = ", ".join(f"{name} {value:.1f}" for name, value in record["stages"].items())
            out.print(f"{record['model']}, left after each attack: {after}", soft_wrap=True)


def _attack(record: Mapping[str, Any]) -> str:
    iters = f" {record['iters']}" if record["iters"] else ""
    return f"{record['attack']}{iters}"


def _count(record: Mapping[str, Any]) -> str:
    n, planned = record["n"], record["planned"]
    return f"{n}" if n == planned else f"{n} of {planned}"


def _score(record: Mapping[str, Any], name: str, interval: bool = True) -> str:
    value, low, high = (record[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return "-"
    return f"{value:.1f} [{low:.1f}, {high:.1f}]" if interval else f"{value:.1f}"


def refuse_implausible(folders: Sequence[Path]) -> None:
    """Raises SanityFailed if the sanity gate objects to a run: what --strict asks for."""
    texts = [f"{folder.name}: {text}" for folder in folders for text in api.objections(folder)]
    if texts:
        raise SanityFailed("--strict: results that are not what they seem.\n" + "\n".join(texts))
