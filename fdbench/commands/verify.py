"""fdbench verify."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fdbench import api
from fdbench.commands.checks import show_checks
from fdbench.commands.options import compute_options, data_options, results_option, taken
from fdbench.console import out
from fdbench.errors import SanityFailed
from fdbench.store import Check


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--model", help="Where the run's weights are now [default: where they were].")
@data_options
@click.option(
    "--batch-size", type=click.IntRange(min=1), help="Images at a time [default: as attacked]."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@results_option
@compute_options
def verify(
    runs: tuple[str, ...],
    model: str | None,
    batch_size: int | None,
    as_json: bool,
    results: Path,
    device: str,
    threads: int | None,
    **flags: Any,
) -> None:
    """Recheck rows, images, weights and verdicts of runs.

    RUN is a run's folder, or its name under --results. Exit code 3 if a check fails.
    """
    data = taken(api.DataRequest, flags)
    folders = [api.run_folder(run, results) for run in runs]
    verdicts = {
        folder: api.verify(
            folder, model=model, data=data, batch_size=batch_size, results=results, device=device,
            threads=threads,
        )
        for folder in folders
    }  # fmt: skip
    _show(verdicts, as_json)
    failed = [
        f"{folder}: {', '.join(check.check for check in checks if check.verdict == 'fail')}"
        for folder, checks in verdicts.items()
        if any(check.verdict == "fail" for check in checks)
    ]
    if failed:
        raise SanityFailed("a check failed.\n" + "\n".join(failed))


def _show(verdicts: dict[Path, list[Check]], as_json: bool) -> None:
    if as_json:
        plain = [
            {"run": str(folder), "checks": [asdict(check) for check in checks]}
            for folder, checks in verdicts.items()
        ]
        out.print(json.dumps(plain), soft_wrap=True)
        return
    for folder, checks in verdicts.items():
        out.print(str(folder), soft_wrap=True)
        show_checks(checks)
