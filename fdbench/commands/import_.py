"""fdbench import."""

from pathlib import Path

import click
from rich.table import Table

from fdbench import api
from fdbench.commands.options import OneOf, plain_name, results_option
from fdbench.console import err, out, say
from fdbench.errors import unknown
from fdbench.specs import PLACES, ModelSpec


@click.command(name="import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--arch", help="Checked against the file [default: the file's].")
@click.option("--denoise", help="none, nonlocal-gauss or nonlocal-dot; checked like --arch.")
@click.option("--denoise-at", type=OneOf(PLACES), help="Checked like --arch.")
@click.option("--name", help="Name of the checkpoint and of the row [default: from the network].")
@click.option("--dry-run", is_flag=True, help="Print what the file holds, and write nothing.")
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
    """Import a network that the paper's authors released.

    FILE is their .npz.

    Architecture and denoiser are read from the variables. The weights go to results/checkpoints,
    with a card that names their licence, source and preprocessing.
    """
    ModelSpec(arch=arch or "r152")  # refuses an unknown name at once
    known = api.choices("denoisers")
    if denoise is not None and denoise not in known:
        raise unknown("denoiser", denoise, known)
    if name is not None:
        plain_name(name)
    pack = api.read_release(file, {"arch": arch, "denoise": denoise, "denoise_at": denoise_at})
    name = name or pack.spec.name
    facts = _table(api.release_facts(pack, name))
    if dry_run:
        out.print(facts)
        return
    err.print(facts)
    out.print(str(api.import_release(pack, name, replace, results)), soft_wrap=True)
    say(f"Next: fdbench attack suite whitebox --model {name}")


def _table(facts: dict[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in facts.items():
        table.add_row(key, value, style="bold" if key == "name" else "")
    return table
