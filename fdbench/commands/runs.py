"""What all attack commands share: their options, and one attack on one model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from fdbench.commands.options import (
    all_of,
    compute_options,
    data_options,
    results_option,
    start_torch,
)
from fdbench.errors import BadValue, FdbenchError
from fdbench.specs import SAVE, AttackSpec, default_eps, default_targeted

split_option = click.option(
    "--split",
    type=click.Choice(["test", "val", "held-out", "train"]),
    default="test",
    show_default=True,
    help="Which of its images; val, as ImageNet calls it, is test.",
)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), help="Attack the first N images only."
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
models_option = click.option(
    "--model",
    "models",
    multiple=True,
    help="A name, a .safetensors file, tv:NAME, timm:NAME, defense:DIR or module:function; may be "
    "repeated [default: all weights on this disk].",
)
save_option = click.option(
    "--save-adv",
    type=click.Choice(SAVE),
    is_flag=False,
    flag_value="float",
    help="Keep the adversarial images, for fdbench verify; png: as whole pixels besides.",
)
eps_option = click.option(
    "--eps", help="8/255, 8px or 0.0314 [default: the model's own, else 8/255, 16/255 on imagenet]."
)
run_options = all_of(
    models_option,
    data_options,
    split_option,
    limit_option,
    click.option(
        "--batch-size",
        type=click.IntRange(min=1),
        help="[default: 250, or what memory holds]",
    ),
    click.option("--compile", is_flag=True, help="Let torch.compile fuse kernels (GPUs)."),
    save_option,
    seed_option,
    json_option,
    results_option,
    compute_options,
)
reference_option = click.option(
    "--reference/--accelerated",
    default=False,
    show_default=True,
    help="Attack the network as it is, or its BN-folded copy (same function, faster).",
)
attack_norms = ("linf", "l2", "l1")


@dataclass(frozen=True)
class Wish:
    """What was typed of an attack; None is filled in from the model and the data."""

    spec: AttackSpec
    eps: float | None
    targeted: bool | None
    precision: str = "fp32"
    targets: Mapping[Any, int] = field(default_factory=dict)


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
    folders = []
    for model in open_all(models, results):
        folders += [attack_one(model, wish, results, where, **rest) for wish in wishes]
    show(folders, as_json)


def open_all(models: tuple[str, ...], results: Path) -> Any:
    """Each model that was named, or all on this disk; one at a time."""
    from fdbench.console import say
    from fdbench.models import checkpoints, open_model

    refs = list(models) or list(checkpoints(results))
    if not refs:
        raise FdbenchError(
            f"no weights in {results}/checkpoints, and no --model given.\n"
            "Train one first: fdbench train --arch r20\n"
            "or name one: --model FILE.safetensors, --model module:function"
        )
    if not models:
        say(f"models: {', '.join(refs)} (all in {results}/checkpoints)")
    for ref in refs:
        model = open_model(ref, results)
        if model.preprocessing:
            say(f"{model.name}: {model.preprocessing}")
        if model.card and model.card.source:
            say(f"{model.name}: {model.card.source}, licence {model.card.licence}")
        yield model


def show(folders: list[Path], as_json: bool) -> None:
    """The run folders on stdout, one a line, or what their run.json say."""
    from fdbench.console import out

    if as_json:
        described = [json.loads((folder / "run.json").read_text()) for folder in folders]
        out.print(json.dumps(described), soft_wrap=True)
        return
    for folder in folders:
        out.print(str(folder), soft_wrap=True)


def complete(wish: Wish, model: Any, ref: str, classes: int) -> AttackSpec:
    """The attack with what was left open taken from the model and the data (contract C7)."""
    norm, card, eps = wish.spec.norm, model.card, wish.eps
    trained = card.train if card else None
    if eps is None and trained and not trained.clean and trained.norm == norm:
        eps = trained.eps
    if eps is None and norm != "linf":
        raise BadValue(
            f"--norm {norm} needs an --eps: {model.name} was not trained in it.\n"
            "Usual on 32 px: --norm l2 --eps 0.5, --norm l1 --eps 12."
        )
    learnt = card.data["name"] if card else None
    eps = default_eps(learnt or ref) if eps is None else eps
    targeted = default_targeted(classes) if wish.targeted is None else wish.targeted
    return replace(wish.spec, eps=eps, targeted=targeted)


def open_images(
    model: Any,
    *,
    data: str | None,
    split: str,
    data_dir: Path | None,
    download: bool,
    px: int | None,
) -> Any:
    """The data set that was named, else the one the model was trained on, else the embedded one."""
    from fdbench.data import open_data

    ref = data or (model.card.data["name"] if model.card else None) or "fashion-mini"
    part = "test" if split == "val" else split
    return open_data(ref, part, data_dir=data_dir, download=download, px=px)


def attack_one(
    model: Any,
    wish: Wish,
    results: Path,
    device: Any,
    *,
    limit: int | None,
    batch_size: int | None,
    seed: int,
    compile: bool = False,
    save_adv: str | None = None,
    **which: Any,
) -> Path:
    """One attack on one model: the run's folder. `which` says of which data set."""
    from fdbench.console import say, stoppable
    from fdbench.evaluation import Evaluation, evaluate

    images = open_images(model, **which)
    spec = complete(wish, model, images.name, images.classes)
    towards = f"targeted ({spec.targets})" if spec.attack == "pgd" else "targeted"
    kind = towards if spec.targeted else "untargeted"
    say(f"{model.name} on {images.name}: {spec.title}, {spec.norm}, eps {spec.eps_text}, {kind}")
    job = Evaluation(
        model, images, spec, results, device, seed, limit, batch_size, wish.precision, compile,
        save_adv, wish.targets,
    )  # fmt: skip
    with stoppable():
        return evaluate(job, say)
