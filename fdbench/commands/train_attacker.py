"""fdbench train-attacker."""

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
    *,
    surrogates: tuple[str, ...],
    data: str | None,
    data_dir: Path | None,
    px: int | None,
    download: bool,
    eps: str | None,
    name: str,
    resume: bool,
    results: Path,
    device: str,
    threads: int | None,
    **settings: Any,
) -> None:
    """Train the feed-forward attacker (transfer method `generator`) on surrogate networks.

    It learns from training images, at every eps from a quarter of --eps to --eps, and never queries
    the victim. The same command resumes a training that was interrupted.
    """
    own_name, radius = plain_name(name), size(eps, "linf", "eps")
    where = start_torch(device, threads)

    from fdbench import training
    from fdbench.console import out, say, stoppable
    from fdbench.store import Workspace

    with stoppable():
        path = training.train_attacker(
            surrogates,
            training.DataSource(data, data_dir, download, px),
            workspace=Workspace(results),
            device=where,
            say=say,
            name=own_name,
            fresh=not resume,
            eps=radius,
            **settings,
        )
    out.print(str(path), soft_wrap=True)
