"""fdbench train-attacker."""

import os
from pathlib import Path
from typing import Any

import click

from fdbench.commands.options import (
    compute_options,
    data_options,
    plain_name,
    results_option,
    size,
    start_torch,
)
from fdbench.errors import BadValue, FdbenchError
from fdbench.specs import default_eps
from fdbench.units import pixels


@click.command("train-attacker")
@click.option(
    "--surrogate",
    "surrogates",
    multiple=True,
    required=True,
    help="A network to learn on, like --model elsewhere; may be repeated.",
)
@data_options
@click.option(
    "--eps", help="Largest perturbation: 8/255, 8px or 0.0314 [default: 8/255, 16/255 on imagenet]."
)
@click.option("--epochs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option(
    "--lr",
    type=click.FloatRange(min=0, min_open=True),
    default=2e-3,
    show_default=True,
    help="Adam's.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Learn from the first N images only.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--name", default="generator", show_default=True, help="Name of the weights.")
@click.option("--resume/--fresh", default=True, help="Continue, or start over.", show_default=True)
@results_option
@compute_options
def train_attacker(
    name: str, eps: str | None, resume: bool, device: str, threads: int | None, **typed: Any
) -> None:
    """Train the feed-forward attacker (transfer method `generator`) on surrogate networks.

    It learns from training images, at every eps from a quarter of --eps to --eps; the victim is
    never asked. The same command continues a training that was stopped.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise BadValue("training takes one process; only attacks are shared out by torchrun.")
    name, radius = plain_name(name), size(eps, "linf", "eps")
    where = start_torch(device, threads)

    from fdbench.console import out, say, stoppable
    from fdbench.training import GeneratorLearner, train

    job = _job(name, radius, where, **typed)
    refs = ", ".join(surrogate.ref for surrogate in job.surrogates)
    say(
        f"train attacker {name} on {job.data.name}: {job.images} images, {job.epochs} epochs, eps "
        f"up to {pixels(job.eps)}, surrogates {refs}, {where}"
    )
    with stoppable():
        path = train(GeneratorLearner(job), fresh=not resume, say=say)
    out.print(str(path), soft_wrap=True)


def _job(
    name: str,
    eps: float | None,
    device: Any,
    *,
    surrogates: tuple[str, ...],
    data: str | None,
    data_dir: Path | None,
    px: int | None,
    download: bool,
    results: Path,
    **rest: Any,
) -> Any:
    """The training, with its networks and its data opened."""
    from fdbench.attacks import Ensemble
    from fdbench.data import open_data
    from fdbench.models import open_model
    from fdbench.store import Surrogate, Workspace
    from fdbench.training import GeneratorTraining

    models = [open_model(ref, results) for ref in surrogates]
    ref = data or _learnt_data(models)
    images = open_data(ref, "train", data_dir=data_dir, download=download, px=px)
    nets = tuple(model.net.to(device) for model in models)
    ensemble = Ensemble(nets, (1.0,) * len(nets))
    named = tuple(Surrogate(model.name, model.ref, model.weights) for model in models)
    radius = default_eps(ref) if eps is None else eps
    place = Workspace(results)
    return GeneratorTraining(name, named, ensemble, images, place, device, radius, **rest)


def _learnt_data(models: list[Any]) -> str:
    """The data the surrogates were trained on, where their cards agree."""
    known = {model.card.data["name"] for model in models if model.card is not None}
    if len(known) != 1:
        found = f"they were trained on {', '.join(sorted(known))}" if known else "they don't say"
        raise FdbenchError(f"which data to learn from? {found}.\nGive --data DATA.")
    return str(known.pop())
