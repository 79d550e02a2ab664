"""fdbench train."""

import os
from dataclasses import asdict, replace
from typing import Any

import click

from fdbench.commands.options import (
    Fraction,
    Fractions,
    compute_options,
    data_options,
    plain_name,
    results_option,
    size,
    start_torch,
)
from fdbench.errors import BadValue
from fdbench.specs import (
    ARCHS,
    BLOCKS,
    DENOISERS,
    PLACES,
    SMALL,
    ModelSpec,
    TrainSpec,
    model_recipe,
    recipe_files,
)
from fdbench.units import print_size

_AT_LEAST_1 = click.IntRange(min=1)
_ATTACK_ONLY = ("attack_iters", "eps", "alpha", "targeted", "norm", "clean_start", "probe_iters")


@click.command()
@click.option("--arch", required=True, help=f"One of {', '.join(ARCHS)}.")
@click.option("--denoise", default="none", show_default=True, help=f"{', '.join(DENOISERS)}.")
@click.option(
    "--denoise-at",
    type=click.Choice(PLACES),
    default="stages",
    show_default=True,
    help="After the last block of each stage, or after every block.",
)
@click.option(
    "--block",
    type=click.Choice(BLOCKS),
    default="full",
    show_default=True,
    help="The denoising block, or an ablation of it.",
)
@click.option("--width", type=_AT_LEAST_1, help="Channels of the first stage.")
@data_options
@click.option("--epochs", type=_AT_LEAST_1, help="Passes over the training images.")
@click.option("--batch-size", type=_AT_LEAST_1)
@click.option(
    "--lr",
    type=click.FloatRange(min=0, min_open=True),
    help="Peak learning rate per 256 images (linear rule).",
)
@click.option("--warmup", type=Fraction(), help="Share of the training with a rising rate.")
@click.option(
    "--drops", type=Fractions(), help="Shares of the training after which the rate falls to 1/10."
)
@click.option("--momentum", type=Fraction())
@click.option("--weight-decay", type=click.FloatRange(min=0))
@click.option("--label-smoothing", type=Fraction())
@click.option(
    "--augment/--no-augment", default=None, help="Random crops and flips (colours on imagenet)."
)
@click.option("--clean", is_flag=True, help="Train on clean images: no attack.")
@click.option("--attack-iters", type=_AT_LEAST_1, help="PGD iterations while training.")
@click.option("--eps", help="Perturbation size: 8/255, 8px or 0.0314.")
@click.option("--alpha", help="Step size of the attack, like --eps.")
@click.option("--norm", type=click.Choice(["linf", "l2"]))
@click.option(
    "--targeted/--untargeted", default=None, help="Random targets, or away from the label."
)
@click.option(
    "--clean-start", type=Fraction(), help="Share of batches attacked from the clean image."
)
@click.option("--probe-iters", type=_AT_LEAST_1, help="PGD on held-out images after each epoch.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--name", help="Name of the checkpoint and of the row [default: from the network].")
@click.option("--resume/--fresh", default=True, help="Continue, or start over.", show_default=True)
@results_option
@compute_options
def train(**flags: Any) -> None:
    """Train a network on adversarial images (paper, Sec. 6), and keep its best epoch.

    What is not given comes from the model's recipe for this data set, else from the paper's
    setting (100 classes or more) or the usual one for small images. The same command continues a
    training that was stopped.
    """
    _refuse_unused(flags)
    shape = {k: flags[k] for k in ("arch", "denoise", "denoise_at", "block", "width")}
    ModelSpec(**shape)  # refuses a wrong name before anything slow happens
    device = start_torch(flags["device"], flags["threads"])

    from fdbench.console import out, say, stoppable
    from fdbench.data import open_data
    from fdbench.store import Workspace
    from fdbench.training import Training, learner_for
    from fdbench.training import train as run

    data = flags["data"] or "fashion-mini"
    where = {key: flags[key] for key in ("data_dir", "download", "px")}
    images = open_data(data, "train", **where)
    model = ModelSpec(**shape, classes=images.classes, px=images.px)
    name = plain_name(flags["name"] or model.name)
    spec = settings(model, data, images.classes, flags)
    held_out = open_data(data, "held-out", **where)
    workspace = Workspace(flags["results"])
    job = Training(name, model, spec, images, held_out, workspace, device)
    say(describe(name, model, spec, len(images), str(device)))
    with stoppable():
        path = run(learner_for(job), fresh=not flags["resume"], say=say)
    out.print(str(path), soft_wrap=True)
    say(f"Next: fdbench attack pgd --iters 100 --model {name}")


def _refuse_unused(flags: dict[str, Any]) -> None:
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise BadValue("training takes one process; only attacks are shared out by torchrun.")
    used = [name for name in _ATTACK_ONLY if flags[name] is not None]
    if flags["clean"] and used:
        option = used[0].replace("_", "-")
        raise BadValue(f"--clean trains without an attack: --{option} has nothing to act on.")


def settings(model: ModelSpec, data: str, classes: int, flags: dict[str, Any]) -> TrainSpec:
    """Flags, else the recipe's settings for this data set, else the profile for its size."""
    spec = (
        TrainSpec(data=data) if classes >= 100 and model.px > 64 else TrainSpec(data=data, **SMALL)
    )
    if model.name in recipe_files("models"):
        table = model_recipe(model.name).train.get(data, {})
        spec = TrainSpec.of({**asdict(spec), **table}, f"models/{model.name}.toml")
    given = {k: flags[k] for k in asdict(spec) if flags.get(k) is not None}
    norm = given.get("norm", spec.norm)
    if norm != spec.norm and not ("eps" in given and "alpha" in given):
        raise BadValue(f"--norm {norm} needs its own --eps and --alpha.")
    for option in ("eps", "alpha"):
        if option in given:
            given[option] = size(given[option], norm, option)
    return replace(spec, **{**given, "data": data})


def describe(name: str, model: ModelSpec, spec: TrainSpec, images: int, device: str) -> str:
    """What was taken, for the eye: flags that were left out stand here with their values."""
    lines = [
        f"train {name}: {model.name}, {model.classes} classes, {model.px} px, on {spec.data} "
        f"({images} images), {device}",
        f"{spec.epochs} epochs, batch {spec.batch_size}, peak lr {spec.peak_lr:g}, weight decay "
        f"{spec.weight_decay:g}, label smoothing {spec.label_smoothing:g}, seed {spec.seed}",
    ]
    if spec.clean:
        return "\n".join([*lines, "on clean images, without an attack"])
    kind = "random targets" if spec.targeted else "untargeted"
    eps, alpha = print_size(spec.eps, spec.norm), print_size(spec.alpha, spec.norm)
    attack = f"PGD-{spec.attack_iters}, {kind}, {spec.norm}, eps {eps}, alpha {alpha}"
    return "\n".join([*lines, f"on adversarial images: {attack}"])
