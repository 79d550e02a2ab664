"""fdbench train-attacker."""

from pathlib import Path
from typing import Any

import click

from fdbench import api
from fdbench.commands.options import (
    compute_options,
    data_options,
    plain_name,
    results_option,
    size,
    taken,
)
from fdbench.console import out, stoppable


@click.command("train-attacker")
@click.option(
    "--surrogate",
    "surrogates",
    multiple=True,
    required=True,
    help="A network to train on, as for --model; may be repeated.",
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
    help="Adam's learning rate.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Train on N images only: the first, or one of each class in turn where ordered by class.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--name", default="generator", show_default=True, help="Name of the weights.")
@click.option("--resume/--fresh", default=True, help="Continue, or start over.", show_default=True)
@results_option
@compute_options
def train_attacker(
    *,
    surrogates: tuple[str, ...],
    eps: str | None,
    name: str,
    resume: bool,
    results: Path,
    **settings: Any,
) -> None:
    """Train a feed-forward attacker on surrogate networks.

    It trains on training images, at every eps from a quarter of --eps to --eps, and never queries
    the victim. The same command resumes an interrupted training.
    """
    own_name, radius = plain_name(name), size(eps, "linf", "eps")
    data = taken(api.DataRequest, settings)
    with stoppable():
        path = api.train_attacker(
            surrogates, data, name=own_name, fresh=not resume, eps=radius, results=results,
            **settings,
        )  # fmt: skip
    out.print(str(path), soft_wrap=True)
