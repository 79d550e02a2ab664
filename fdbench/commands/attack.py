"""fdbench attack: pgd, autoattack, foolbox, transfer, and suites of attacks from attacks/."""

from pathlib import Path
from typing import Any

import click

from fdbench.commands.options import Budgets, all_of, size
from fdbench.commands.runs import (
    Wish,
    attack_all,
    attack_norms,
    eps_option,
    reference_option,
    run_options,
)
from fdbench.commands.transfer import transfer
from fdbench.errors import BadValue
from fdbench.specs import AttackSpec, battery


@click.group()
def attack() -> None:
    """Attack models; rows are kept under results/runs and continued if stopped."""


precision_option = click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "auto"]),
    default="fp32",
    show_default=True,
    help="Of PGD's gradients; steps and verdicts are float32 always. auto: bf16 if it is "
    "faster and no weaker on the run's first images.",
)
targeted_option = click.option(
    "--targeted/--untargeted",
    default=None,
    help="Towards a wrong class, or away from the label [default: targeted from 100 classes on].",
)

pgd_options = all_of(
    click.option(
        "--iters",
        type=Budgets(),
        default="100",
        show_default=True,
        help="Budgets; those that share a step size come from one trajectory.",
    ),
    eps_option,
    click.option(
        "--alpha",
        default="auto",
        show_default=True,
        help="Step size like --eps; auto: max(1/255, eps/iters) targeted, eps/4 untargeted.",
    ),
    click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True),
    targeted_option,
    click.option(
        "--targets",
        default="random",
        show_default=True,
        help="Of a targeted attack: random, least-likely, or a CSV file (image,target).",
    ),
    click.option(
        "--loss", type=click.Choice(["ce", "margin", "dlr"]), default="ce", show_default=True
    ),
    click.option(
        "--restarts",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Random starts; each image counts by its worst.",
    ),
    click.option("--random-start/--clean-start", default=True, show_default=True),
    click.option(
        "--stop-early",
        is_flag=True,
        help="Images leave at their first wrong iterate: faster, and only that can be read.",
    ),
    click.option(
        "--eot",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Gradients averaged over N passes, for networks that draw random numbers.",
    ),
    precision_option,
)


@attack.command()
@pgd_options
@run_options
def pgd(
    iters: tuple[int, ...],
    eps: str | None,
    alpha: str,
    norm: str,
    targeted: bool | None,
    targets: str,
    precision: str,
    loss: str,
    restarts: int,
    random_start: bool,
    stop_early: bool,
    eot: int,
    **run: Any,
) -> None:
    """White-box PGD, read at every budget of --iters (paper, Sec. 6.1)."""
    kind, wanted = _targets(targets)
    spec = AttackSpec(
        norm=norm,
        targeted=kind != "random",
        iters=tuple(sorted(iters)),
        alpha=size(alpha, norm, "alpha"),
        restarts=restarts,
        loss=loss,
        random_start=random_start,
        targets=kind,
        stop_early=stop_early,
        eot=eot,
    )
    if kind != "random":
        if targeted is False:
            raise BadValue(f"--targets {targets} contradicts --untargeted.")
        targeted = True
    if stop_early:
        if targeted:
            raise BadValue("--stop-early needs --untargeted: a wrong image is not yet a hit.")
        targeted = False
    attack_all([Wish(spec, size(eps, norm, "eps"), targeted, precision, wanted)], **run)


def _targets(given: str) -> tuple[str, dict[Any, int]]:
    """The kind of targets, and those of a file."""
    if given in ("random", "least-likely"):
        return given, {}
    if not Path(given).is_file():
        raise BadValue(f"--targets {given!r} is neither random, least-likely, nor a CSV file.")

    from fdbench.attacks import from_file

    return "file", from_file(Path(given))


@attack.command()
@click.option(
    "--version",
    type=click.Choice(["standard", "plus", "rand"]),
    default="standard",
    show_default=True,
    help="Which of its attacks; rand is for networks that draw random numbers.",
)
@click.option(
    "--only",
    "names",
    help="A list of your own instead: apgd-ce,apgd-dlr,apgd-t,fab,fab-t,square.",
)
@eps_option
@click.option("--norm", type=click.Choice(attack_norms), default="linf", show_default=True)
@reference_option
@run_options
def autoattack(
    version: str, names: str | None, eps: str | None, norm: str, reference: bool, **run: Any
) -> None:
    """AutoAttack: four attacks in a row, each on what the earlier ones left (Croce & Hein 2020)."""
    from fdbench.attacks import parse_options

    options: dict[str, Any] = {"version": version}
    if names is not None:
        if version != "standard":
            raise BadValue(f"--only is a version of its own: leave --version {version} out.")
        options = {"version": "custom", "attacks": names.split(",")}
    parse_options(options)
    spec = AttackSpec("autoattack", norm, iters=(), options=options)
    precision = "reference" if reference else "fp32"
    attack_all([Wish(spec, size(eps, norm, "eps"), targeted=False, precision=precision)], **run)


@attack.command()
@click.option(
    "--attack", "name", required=True, help="One of Foolbox's: `fdbench list attacks --foolbox`."
)
@click.option("--set", "pairs", multiple=True, help="key=value of the attack; may be repeated.")
@eps_option
@click.option(
    "--norm",
    type=click.Choice(["linf", "l2", "l1", "l0"]),
    help="Of attacks that know several [default: the attack's].",
)
@targeted_option
@reference_option
@run_options
def foolbox(
    name: str,
    pairs: tuple[str, ...],
    eps: str | None,
    norm: str | None,
    targeted: bool | None,
    reference: bool,
    **run: Any,
) -> None:
    """Any of Foolbox's attacks, judged and recorded like ours (Rauber et al. 2020)."""
    from fdbench.attacks import check_foolbox, foolbox_norm, parse_foolbox_settings

    known = foolbox_norm(name, norm)
    towards = bool(targeted)
    settings = check_foolbox(name, parse_foolbox_settings(pairs), known, towards)
    spec = AttackSpec(
        "foolbox", known, iters=(), targeted=towards, options={"name": name, "settings": settings}
    )
    precision = "reference" if reference else "fp32"
    attack_all([Wish(spec, size(eps, known, "eps"), towards, precision=precision)], **run)


@attack.command()
@click.argument("name", metavar="BATTERY")
@precision_option
@run_options
def suite(name: str, precision: str, **run: Any) -> None:
    """Run all attacks of a battery: `fdbench list attacks`."""
    attacks = battery(name).attacks
    wishes = [
        Wish(spec, spec.eps, spec.targeted, precision if spec.attack == "pgd" else "fp32")
        for spec in attacks
    ]
    attack_all(wishes, **run)


attack.add_command(transfer)
