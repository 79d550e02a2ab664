"""fdbench figures."""

from pathlib import Path
from typing import Any

import click

from fdbench import api
from fdbench.commands.options import (
    OneOf,
    compute_options,
    data_options,
    eps_option,
    results_option,
    sample_option,
    seed_option,
    size,
    split_option,
    taken,
)
from fdbench.console import out


@click.command()
@click.option("--model", required=True, help="As for fdbench attack; one with stages.")
@click.option("--against", help="A second network, shown beside the first.")
@click.option(
    "--stage", type=click.IntRange(min=1), default=2, show_default=True,
    help="Show the feature maps at the end of this stage.",
)  # fmt: skip
@click.option(
    "--channel", type=click.IntRange(min=0),
    help="Show this channel [default: the one whose clean maps vary most].",
)  # fmt: skip
@click.option(
    "--rows", type=click.IntRange(1, 12), default=3, show_default=True, help="Images to show."
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True,
    help="Images whose features' distances are measured.",
)  # fmt: skip
@click.option("--iters", type=click.IntRange(min=1), default=20, show_default=True)
@data_options
@split_option
@sample_option
@eps_option
@click.option("--norm", type=OneOf(["linf", "l2"]), default="linf", show_default=True)
@seed_option
@results_option
@compute_options
def figures(
    model: str, against: str | None, eps: str | None, norm: str, results: Path, **flags: Any
) -> None:
    """Draw what an attack does to features.

    Maps of an image and of its adversarial twin, before and after a denoising block, and how far
    features move from stage to stage.
    """
    attack = api.AttackRequest(norm=norm, eps=size(eps, norm, "eps"), targeted=False)
    data, compute = taken(api.DataRequest, flags), taken(api.Compute, flags)
    asked = api.FeatureRequest(**flags)
    paths, table = api.feature_figures(model, against, data, attack, asked, results, compute)
    shown = table.drop(columns="images").round(3).to_string(index=False)
    out.print(shown, soft_wrap=True, highlight=False)
    for path in paths:
        out.print(str(path), soft_wrap=True)
