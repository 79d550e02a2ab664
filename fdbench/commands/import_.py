"""fdbench import."""

from pathlib import Path
from typing import Any

import click

from fdbench.commands.options import plain_name, results_option
from fdbench.errors import FdbenchError
from fdbench.specs import PLACES, ModelSpec
from fdbench.store import Workspace


@click.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--arch", help="Checked against the file [default: what the file holds].")
@click.option("--denoise", help="none, nonlocal-gauss or nonlocal-dot; checked like --arch.")
@click.option("--denoise-at", type=click.Choice(PLACES), help="Checked like --arch.")
@click.option("--name", help="Name of the checkpoint and of the row [default: from the network].")
@click.option("--dry-run", is_flag=True, help="Say what the file holds and write nothing.")
@click.option("--replace", is_flag=True, help="Overwrite a checkpoint of other weights.")
@results_option
def import_(
    file: Path,
    arch: str | None,
    denoise: str | None,
    denoise_at: str | None,
    name: str | None,
    dry_run: bool,
    replace: bool,
    results: Path,
) -> None:
    """Take over a network that the paper's authors released: FILE is their .npz.

    Architecture and denoiser are read off the variables. The weights go to results/checkpoints,
    with a card that names their licence, source and preprocessing.
    """
    told = {"arch": arch, "denoise": denoise, "denoise_at": denoise_at}
    ModelSpec(arch=arch or "r152", denoise=denoise or "none")  # refuses an unknown name at once
    if name is not None:
        plain_name(name)

    from fdbench.console import err, out, say
    from fdbench.models import read_pack

    pack = read_pack(file, told)
    name = name or pack.spec.name
    if dry_run:
        out.print(_table(pack, name))
        return
    err.print(_table(pack, name))
    path = Workspace(results).checkpoint(name)
    _save(pack, name, path, replace)
    out.print(str(path), soft_wrap=True)
    say(f"Next: fdbench attack suite whitebox --model {name}")


def _table(pack: Any, name: str) -> Any:
    """What the file holds, for the eye."""
    from rich.table import Table

    from fdbench.models import LICENCE, SOURCE

    spec = pack.spec
    placed = "" if spec.denoise == "none" else f", {spec.denoise_at}"
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in {
        "name": name,
        "architecture": spec.arch,
        "denoiser": f"{spec.denoise}{placed}",
        "variables": f"{pack.variables / 1e6:.6f} million, batch norm's statistics included",
        "input": f"RGB in [0, 1]; inside: {spec.order}, (x - 0.5) / 0.5, {spec.padding} padding",
        "source": SOURCE,
        "licence": LICENCE,
        "sha256": pack.sha256,
    }.items():
        table.add_row(key, value, style="bold" if key == "name" else "")
    return table


def _save(pack: Any, name: str, path: Path, replace: bool) -> None:
    """Weights and card; the same weights again are no error, other ones are."""
    import torch

    from fdbench.machine import environment
    from fdbench.models import LICENCE, SOURCE, Card, load_card, save_card, weights_hash

    weights = weights_hash(pack.tensors)
    if path.exists() and not replace:
        if load_card(path)[1].weights == weights:
            return
        raise FdbenchError(
            f"{path} holds other weights.\nGive another --name, or --replace to overwrite them."
        )
    card = Card(
        name=name,
        spec=pack.spec,
        data={"name": "imagenet", "classes": pack.spec.classes, "px": pack.spec.px},
        finished=True,
        environment=environment(torch.device("cpu")),
        weights=weights,
        licence=LICENCE,
        source=SOURCE,
        source_sha256=pack.sha256,
    )
    save_card(path, pack.tensors, card)
