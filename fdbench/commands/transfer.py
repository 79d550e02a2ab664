"""fdbench attack transfer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from fdbench.commands.making import Typed, making_options, plan, refuse_contradictions
from fdbench.commands.options import compute_options, data_options, results_option, start_torch
from fdbench.commands.runs import Wish, attack_one, json_option, limit_option, open_all


@click.command()
@making_options
@click.option("--use", metavar="SET", help="A set that is made already: its name or folder.")
@click.option(
    "--model",
    "models",
    multiple=True,
    help="A victim, named as for the other attacks; may be repeated [default: "
    "none, the set is made and kept].",
)
@data_options
@click.option(
    "--split",
    type=click.Choice(["test", "val", "held-out", "train"]),
    help="Which of its images; val, as ImageNet calls it, is test [default: test, or the set's].",
)
@limit_option
@click.option("--batch-size", type=click.IntRange(min=1), help="[default: 250; 100 of submissions]")
@json_option
@results_option
@compute_options
def transfer(
    use: str | None,
    models: tuple[str, ...],
    results: Path,
    device: str,
    threads: int | None,
    data: str | None,
    split: str | None,
    limit: int | None,
    batch_size: int | None,
    as_json: bool,
    data_dir: Path | None,
    download: bool,
    px: int | None,
    **making: Any,
) -> None:
    """Attack models by attackers who never see them (paper, Sec. 6.2).

    The adversarial images are made once, from surrogates, by a competition's submission or
    elsewhere, kept as a set under results/sets/, and judged by every --model. An image counts only
    if it survives every attacker: fdbench report shows that, and each attacker.
    """
    refuse_contradictions(use, models, making)
    part = "test" if split == "val" else split
    further = {"data_dir": data_dir, "download": download, "px": px}
    typed = Typed(results, start_torch(device, threads), data, part, limit, batch_size, further)
    stored, images = _used(typed, use) if use else _made(typed, making)
    runs = _judged(typed, stored, images, models)
    _show(stored, runs, as_json)


def _used(typed: Typed, use: str) -> tuple[Any, Any]:
    """The set that is there already, and the data it was made from."""
    from fdbench.data import open_data
    from fdbench.store import AdvSet, Workspace

    stored = AdvSet.open(Workspace(typed.results), use)
    made = stored.info.data
    return stored, open_data(typed.data or made.name, typed.split or made.split, **typed.further)


def _made(typed: Typed, making: Mapping[str, Any]) -> tuple[Any, Any]:
    """The set, made as far as it was not, and the data."""
    from fdbench import submission
    from fdbench.blackbox import make_set
    from fdbench.console import say, stoppable
    from fdbench.store import AdvSet, Workspace

    work = plan(typed, making)
    names = ", ".join(attacker.spec.name for attacker in work.attackers)
    kind = f"targeted ({work.aim.name.split()[0]})" if work.aim else "untargeted"
    say(f"{names} on {work.data.name}, linf, eps {255 * work.threat.eps:g}/255, {kind}")
    for warning in work.warnings:
        say(f"warning: {warning}")
    with stoppable():
        folder = make_set(work, say)
    stored = AdvSet.open(Workspace(typed.results), folder.name)
    for name, counts in stored.counts.items():
        for line in submission.summary(counts) if counts else []:
            say(f"{name}: {line}")
    return stored, work.data


def _judged(typed: Typed, stored: Any, images: Any, models: tuple[str, ...]) -> list[Path]:
    """The set on every victim: the runs' folders."""
    if not models:
        return []
    from fdbench.machine import rank_and_world

    rank, world = rank_and_world()
    count = min(typed.limit or stored.info.images, len(images))
    # This process judges what it made: others may still be at it.
    stored.check_fit(images, images.ids[rank:count:world])
    wish = Wish(stored.spec, stored.info.eps, targeted=stored.spec.targeted)
    return [
        attack_one(
            model,
            wish,
            typed.results,
            typed.device,
            data=images.name,
            split=images.split,
            limit=count if count < len(images) else None,
            batch_size=typed.batch_size,
            seed=stored.info.seed,
            **typed.further,
        )
        for model in open_all(models, typed.results)
    ]


def _show(stored: Any, runs: list[Path], as_json: bool) -> None:
    """The set's folder and the runs' on stdout, one a line, or what their descriptions say."""
    from fdbench.console import out

    if not as_json:
        for folder in (stored.path, *runs):
            out.print(str(folder), soft_wrap=True)
        return
    described = {
        "set": {
            **json.loads((stored.path / "set.json").read_text()),
            "seconds": stored.seconds,
            "counts": stored.counts,
        },
        "runs": [json.loads((folder / "run.json").read_text()) for folder in runs],
    }
    out.print(json.dumps(described), soft_wrap=True)
