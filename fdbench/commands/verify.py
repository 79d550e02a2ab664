"""fdbench verify."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fdbench.commands.options import compute_options, data_options, results_option, start_torch
from fdbench.errors import BadValue, FdbenchError, SanityFailed


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--model", help="Where the run's weights are now [default: where they were].")
@data_options
@click.option(
    "--batch-size", type=click.IntRange(min=1), help="Images at a time [default: as attacked]."
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@results_option
@compute_options
def verify(
    runs: tuple[str, ...],
    results: Path,
    device: str,
    threads: int | None,
    as_json: bool,
    **rest: Any,
) -> None:
    """Check runs again: rows, kept images, weights, and every verdict.

    RUN is a run's folder, or its name under --results. Exit code 3 if a check fails.
    """
    from fdbench.evaluation import find_run
    from fdbench.store import Workspace

    folders = [find_run(Workspace(results), run) for run in runs]
    where = start_torch(device, threads)
    found = {folder: _checks(folder, results, where, **rest) for folder in folders}
    _show(found, as_json)
    failed = [
        f"{folder}: {', '.join(check.check for check in checks if check.verdict == 'fail')}"
        for folder, checks in found.items()
        if any(check.verdict == "fail" for check in checks)
    ]
    if failed:
        raise SanityFailed("a check failed.\n" + "\n".join(failed))


def _open(ref: str, results: Path) -> Any:
    """The model, or None with the reason said: tampered weights are a finding, not the end."""
    from fdbench.console import say
    from fdbench.models import open_model

    try:
        return open_model(ref, results)
    except BadValue:
        raise
    except FdbenchError as reason:
        say(f"{reason.message}\nIf the weights lie elsewhere: --model FILE.safetensors")
        return None


def _checks(
    folder: Path,
    results: Path,
    device: Any,
    *,
    model: str | None,
    data: str | None,
    data_dir: Path | None,
    px: int | None,
    download: bool,
    batch_size: int | None,
) -> list[Any]:
    from fdbench.console import progress
    from fdbench.data import open_data
    from fdbench.evaluation import audit, read_run

    run = read_run(folder)
    net = _open(model or run.info.model.ref, results)
    known = run.info.data
    images = open_data(data or known.name, known.split, data_dir=data_dir, download=download, px=px)
    with progress(folder.name, len(run.rows), "images") as advance:
        return audit(run, net, images, device, batch_size=batch_size, tick=advance)


def _show(found: dict[Path, list[Any]], as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from fdbench.console import out

    if as_json:
        told = [
            {"run": str(folder), "checks": [asdict(check) for check in checks]}
            for folder, checks in found.items()
        ]
        out.print(json.dumps(told), soft_wrap=True)
        return
    styles = {"pass": "green", "fail": "bold red", "skipped": "dim"}
    for folder, checks in found.items():
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("check", "verdict", "found"):
            table.add_column(column, overflow="fold")
        for check in checks:
            table.add_row(check.check, Text(check.verdict, styles[check.verdict]), check.found)
        out.print(str(folder), soft_wrap=True)
        out.print(table)
