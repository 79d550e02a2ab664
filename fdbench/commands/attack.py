"""fdbench attack: pgd, and suites of attacks from attacks/."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from fdbench import recipes
from fdbench.commands.options import (
    Budgets,
    all_of,
    compute_options,
    data_options,
    results_option,
    size,
    start_torch,
)
from fdbench.errors import FdbenchError
from fdbench.specs import AttackSpec, default_eps, default_targeted


@click.group()
def attack() -> None:
    """Attack models; rows are kept under results/runs and continued if stopped."""


run_options = all_of(
    click.option(
        "--model",
        "models",
        multiple=True,
        help="A name, a .safetensors file, or module:function; may be repeated "
        "[default: all weights on this disk].",
    ),
    data_options,
    click.option(
        "--split",
        type=click.Choice(["test", "val", "held-out", "train"]),
        default="test",
        show_default=True,
        help="Which of its images; val, as ImageNet calls it, is test.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Attack the first N images only."),
    click.option("--batch-size", type=click.IntRange(min=1), default=250, show_default=True),
    click.option(
        "--precision",
        type=click.Choice(["fp32", "bf16"]),
        default="fp32",
        show_default=True,
        help="Of the attacked copy's gradients; steps and verdicts are float32 always.",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
    click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON."),
    results_option,
    compute_options,
)


@dataclass(frozen=True)
class Wish:
    """What was typed of an attack; None is filled in from the model and the data."""

    spec: AttackSpec
    eps: float | None
    targeted: bool | None


@attack.command()
@click.option(
    "--iters",
    type=Budgets(),
    default="100",
    show_default=True,
    help="Budgets; those that share a step size come from one trajectory.",
)
@click.option(
    "--eps", help="8/255, 8px or 0.0314 [default: the model's own, else 8/255, 16/255 on imagenet]."
)
@click.option(
    "--alpha",
    default="auto",
    show_default=True,
    help="Step size like --eps; auto: max(1/255, eps/iters) targeted, eps/4 untargeted.",
)
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True)
@click.option(
    "--targeted/--untargeted",
    default=None,
    help="One random wrong class an image, or away from the label [default: targeted "
    "from 100 classes on].",
)
@click.option("--loss", type=click.Choice(["ce", "margin", "dlr"]), default="ce", show_default=True)
@click.option(
    "--restarts",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Random starts; each image counts by its worst.",
)
@click.option("--random-start/--clean-start", default=True, show_default=True)
@run_options
def pgd(
    iters: tuple[int, ...],
    eps: str | None,
    alpha: str,
    norm: str,
    targeted: bool | None,
    loss: str,
    restarts: int,
    random_start: bool,
    **run: Any,
) -> None:
    """White-box PGD, read at every budget of --iters (paper, Sec. 6.1)."""
    radius = size(eps, norm, "eps")
    spec = AttackSpec(
        norm=norm,
        iters=tuple(sorted(iters)),
        alpha=size(alpha, norm, "alpha"),
        restarts=restarts,
        loss=loss,
        random_start=random_start,
    )
    attack_all([Wish(spec, radius, targeted)], **run)


@attack.command()
@click.argument("battery")
@run_options
def suite(battery: str, **run: Any) -> None:
    """Run all attacks of a battery: `fdbench list attacks`."""
    attacks = recipes.battery(battery).attacks
    attack_all([Wish(spec, spec.eps, spec.targeted) for spec in attacks], **run)


def attack_all(
    wishes: list[Wish],
    *,
    models: tuple[str, ...],
    results: Path,
    device: str,
    threads: int | None,
    as_json: bool,
    **rest: Any,
) -> None:
    """Each attack on each model; prints the run folders, one a line."""
    where = start_torch(device, threads)

    from fdbench.console import out, say
    from fdbench.models.load import checkpoints, open_model

    refs = list(models) or list(checkpoints(results))
    if not refs:
        raise FdbenchError(
            f"no weights in {results}/checkpoints, and no --model given.\n"
            "Train one first: fdbench train --arch r20\n"
            "or name one: --model FILE.safetensors, --model module:function"
        )
    if not models:
        say(f"models: {', '.join(refs)} (all in {results}/checkpoints)")
    folders = []
    for ref in refs:
        model = open_model(ref, results)
        if model.card and model.card.source:
            say(f"{model.name}: {model.card.source}, licence {model.card.licence}")
        folders += [_one(model, wish, results, where, **rest) for wish in wishes]
    if as_json:
        described = [json.loads((folder / "run.json").read_text()) for folder in folders]
        out.print(json.dumps(described), soft_wrap=True)
        return
    for folder in folders:
        out.print(str(folder), soft_wrap=True)


def _one(
    model: Any,
    wish: Wish,
    results: Path,
    device: Any,
    *,
    data: str | None,
    split: str,
    data_dir: Path | None,
    download: bool,
    px: int | None,
    **rest: Any,
) -> Path:
    from fdbench.console import say, stoppable
    from fdbench.data import open_data
    from fdbench.evaluate import Job, evaluate

    card = model.card
    learnt = card.data["name"] if card else None
    ref = data or learnt or "fashion-mini"
    part = "test" if split == "val" else split
    images = open_data(ref, part, data_dir=data_dir, download=download, px=px)
    trained = card.train if card else None
    eps = wish.eps
    if eps is None and trained and not trained.clean and trained.norm == wish.spec.norm:
        eps = trained.eps
    eps = default_eps(learnt or ref) if eps is None else eps
    targeted = default_targeted(images.classes) if wish.targeted is None else wish.targeted
    spec = replace(wish.spec, eps=eps, targeted=targeted)
    kind = "targeted (random)" if targeted else "untargeted"
    say(
        f"{model.name} on {ref}: PGD {', '.join(str(i) for i in spec.iters)}, {spec.norm}, "
        f"eps {spec.eps_text}, {kind}"
    )
    with stoppable():
        return evaluate(Job(model, images, spec, results, device, **rest), say)
