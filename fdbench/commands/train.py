"""fdbench train."""

from pathlib import Path
from typing import Any

import click

from fdbench import api
from fdbench.commands.options import (
    Fraction,
    Fractions,
    OneOf,
    compute_options,
    data_options,
    plain_name,
    results_option,
    taken,
)
from fdbench.console import out, say, stoppable
from fdbench.errors import BadValue
from fdbench.specs import (
    ARCHS,
    BLOCKS,
    MAKERS,
    PLACES,
    SCHEDULES,
    TRAIN_PRECISIONS,
    ModelSpec,
    TrainSpec,
    training_recipes,
)

_AT_LEAST_1 = click.IntRange(min=1)


@click.command()
@click.option("--arch", help=f"One of {', '.join(ARCHS)}; or tv:NAME, timm:NAME, FILE.py:FUNCTION.")
@click.option(
    "--model",
    help="In place of --arch: a network of another package or file, fine-tuned from its weights.",
)
@click.option(
    "--denoise", default="none", show_default=True, help=f"{', '.join(api.choices('denoisers'))}."
)
@click.option(
    "--denoise-at",
    default="stages",
    show_default=True,
    help=f"{PLACES[0]}: after the last block of each; {PLACES[1]}: after every block; of other "
    "packages' networks, their modules: layer1,layer2 (fdbench list layers).",
)
@click.option(
    "--block",
    type=OneOf(BLOCKS),
    default="full",
    show_default=True,
    help="The denoising block, or an ablation of it.",
)
@click.option("--width", type=_AT_LEAST_1, help="Channels of the first stage.")
@data_options
@click.option(
    "--recipe",
    type=OneOf(training_recipes()),
    help=f"Settings to begin with, of models/training: {', '.join(training_recipes())}.",
)
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
@click.option(
    "--schedule",
    type=OneOf(SCHEDULES),
    help="steps: warm-up and drops; one-cycle: straight to the peak at --warmup, then to zero.",
)
@click.option("--momentum", type=Fraction())
@click.option("--weight-decay", type=click.FloatRange(min=0))
@click.option("--label-smoothing", type=Fraction())
@click.option(
    "--augment/--no-augment", default=None, help="Random crops and flips (colours on imagenet)."
)
@click.option("--clean", is_flag=True, help="Train on clean images: no attack.")
@click.option(
    "--method",
    type=OneOf(MAKERS),
    help="pgd; n-fgsm: one step from strong noise; trades: clean images and agreement around them; "
    "free: --attack-iters steps on each batch, each of which moves weights and images.",
)
@click.option("--noise", type=click.FloatRange(min=0), help="n-fgsm: its noise, in eps.")
@click.option("--beta", type=click.FloatRange(min=0), help="trades: weight of the agreement.")
@click.option("--attack-iters", type=_AT_LEAST_1, help="PGD iterations while training.")
@click.option("--eps", help="Perturbation size: 8/255, 8px or 0.0314.")
@click.option("--alpha", help="Step size of the attack, like --eps.")
@click.option("--norm", type=OneOf(api.choices("norms")))
@click.option(
    "--targeted/--untargeted", default=None, help="Random targets, or away from the label."
)
@click.option(
    "--clean-start", type=Fraction(), help="Share of batches attacked from the clean image."
)
@click.option(
    "--clean-first", type=Fraction(), help="Share of the training that begins on clean images."
)
@click.option("--probe-iters", type=_AT_LEAST_1, help="PGD on held-out images after each epoch.")
@click.option(
    "--average",
    type=click.FloatRange(min=0, max=1, max_open=True),
    help="Decay of a moving average of the weights, which is probed and kept; 0: none.",
)
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    help="End after so many epochs without a better held-out accuracy; 0: never.",
)
@click.option(
    "--collapse",
    type=Fraction(),
    help="End when held-out PGD accuracy falls below this share of the best; 0: never.",
)
@click.option(
    "--precision",
    type=OneOf([*TRAIN_PRECISIONS, "auto"]),
    help="Of the learning pass; weights and batch-norm statistics stay in float32. auto: bf16 "
    "where the processor has its arithmetic.",
)
@click.option(
    "--attack-precision",
    type=OneOf([*TRAIN_PRECISIONS, "auto"]),
    help="Of the training attack's copy of the network; the held-out attack stays in float32.",
)
@click.option(
    "--extra-data", help="npz:FILE: more training images, which fill a share of each batch."
)
@click.option(
    "--extra-share",
    type=Fraction(),
    help=f"Share of each batch that is taken from them [default: {TrainSpec.extra_share}].",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--name", help="Name of the checkpoint and of the row [default: from the network].")
@click.option("--resume/--fresh", default=True, help="Continue, or start over.", show_default=True)
@click.option(
    "--sync-bn", is_flag=True, default=None, help="Batch norm over the images of all processes."
)
@click.option(
    "--nproc",
    type=_AT_LEAST_1,
    default=1,
    show_default=True,
    help="Processes on this machine; each takes its share of every batch.",
)
@click.option(
    "--accumulate",
    type=_AT_LEAST_1,
    default=1,
    show_default=True,
    help="Pieces of a process's share of the batch, learnt in turn: batch 4096 on one GPU.",
)
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write each epoch's measurements to this .jsonl or .csv file too.",
)
@click.option(
    "--estimate", is_flag=True, help="Measure a few steps, say how long it will take, and stop."
)
@results_option
@compute_options
def train(
    *,
    arch: str | None,
    model: str | None,
    denoise: str,
    denoise_at: str,
    block: str,
    width: int | None,
    name: str | None,
    resume: bool,
    results: Path,
    nproc: int,
    log: Path | None,
    estimate: bool,
    **settings: Any,
) -> None:
    """Train a network on adversarial images.

    Keeps its best epoch (paper: Sec. 6). Settings left out come from the model's recipe for this
    data set, else from the paper (100 classes or more). Small images have the recipe fast or, where
    you choose an attack or a schedule, what PGD-10 usually has. The same command resumes an
    interrupted training, with any number of processes: --nproc on one machine, torchrun on several.
    """
    if (arch is None) == (model is None):
        raise BadValue("what network? Give --arch, or --model to fine-tune one; not both.")
    # An unknown name fails at once.
    shape = ModelSpec(arch or f"model:{model}", denoise, denoise_at, block, width)
    own_name = plain_name(name) if name else None
    data = taken(api.DataRequest, settings)
    if estimate:
        if nproc > 1 or log:
            raise BadValue("--estimate measures one process and writes nothing: no --nproc, --log.")
        for line in api.estimate_training(shape, data, model=model, **settings):
            out.print(line, soft_wrap=True)
        return
    with stoppable():
        path = api.train(
            shape, data, model=model, name=own_name, fresh=not resume, results=results,
            nproc=nproc, log=log, **settings,
        )  # fmt: skip
    if not api.is_first_process():
        return
    out.print(str(path), soft_wrap=True)
    say(f"Next: fdbench attack pgd --iters 100 --model {path.stem}")
