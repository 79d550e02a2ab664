"""fdbench verify."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fdbench import api
from fdbench.commands.checks import show_checks
from fdbench.commands.options import (
    OneOf,
    compute_options,
    data_options,
    eps_option,
    results_option,
    size,
    taken,
)
from fdbench.commands.stating import stating
from fdbench.console import out
from fdbench.errors import BadValue, SanityFailed
from fdbench.store import Check


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN...")
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Instead of runs: adversarial images made elsewhere, a .pt, .npy or .npz file or a folder "
    "of ID.png, of the data's first images in their order.",
)
@click.option("--model", help="Where the run's weights are now [default: where they were].")
@stating
@data_options
@eps_option
@click.option("--norm", type=OneOf(api.choices("norms")), help="Of --images [default: linf].")
@click.option("--robust", type=float, help="The robust accuracy claimed of --images, in percent.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), help="Images at a time [default: as attacked]."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@results_option
@compute_options
def verify(
    runs: tuple[str, ...],
    images: Path | None,
    model: str | None,
    batch_size: int | None,
    as_json: bool,
    results: Path,
    device: str,
    threads: int | None,
    **flags: Any,
) -> None:
    """Recheck rows, images, weights and verdicts of runs, or images made elsewhere.

    RUN is a run's folder, or its name under --results. Exit code 3 if a check fails.
    """
    data = taken(api.DataRequest, flags)
    where: dict[str, Any] = {
        "batch_size": batch_size, "results": results, "device": device, "threads": threads,
    }  # fmt: skip
    if images is not None:
        verdicts = {images: _claim(runs, images, model, data, flags, where)}
    else:
        _refuse_without_images(runs, flags)
        folders = [api.run_folder(run, results) for run in runs]
        verdicts = {
            folder: api.verify(folder, model=model, data=data, **where) for folder in folders
        }
    _show(verdicts, as_json)
    failed = [
        f"{folder}: {', '.join(check.check for check in checks if check.verdict == 'fail')}"
        for folder, checks in verdicts.items()
        if any(check.verdict == "fail" for check in checks)
    ]
    if failed:
        raise SanityFailed("a check failed.\n" + "\n".join(failed))


def _claim(
    runs: tuple[str, ...],
    images: Path,
    model: str | None,
    data: Any,
    flags: dict[str, Any],
    where: dict[str, Any],
) -> list[Check]:
    if runs:
        raise BadValue(f"--images judges a file, not runs: leave out {' '.join(runs)}.")
    if model is None:
        raise BadValue("--images needs the network that they were made for: --model M.")
    norm = flags["norm"] or "linf"
    eps = size(flags["eps"], norm, "eps")
    return api.verify_images(
        images, model, data, eps=eps, norm=norm, robust=flags["robust"], **where
    )


def _refuse_without_images(runs: tuple[str, ...], flags: dict[str, Any]) -> None:
    given = [f"--{name}" for name in ("eps", "norm", "robust") if flags[name] is not None]
    if given:
        raise BadValue(f"{', '.join(given)} belong to --images FILE: a run has its own.")
    if not runs:
        raise BadValue(
            "which run? `fdbench list runs` shows all.\n"
            "For images made elsewhere: fdbench verify --images FILE --model M --data D --eps 8/255"
        )


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
