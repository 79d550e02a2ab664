"""fdbench attack: a command for each attack of the registry, and suites of attacks/.

An attack's options are generated from its parameters (specs/parameters.py), so that an attack of
another package has a command like the built-in ones.
"""

from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, get_args

import click

from fdbench import api
from fdbench.commands.foolbox import foolbox
from fdbench.commands.options import (
    Budgets,
    Named,
    Names,
    OneOf,
    eps_option,
    run_options,
    size,
)
from fdbench.commands.running import run
from fdbench.commands.transfer import transfer
from fdbench.errors import BadValue
from fdbench.specs import Parameters, battery
from fdbench.units import parse_size

targeted_option = click.option(
    "--targeted/--untargeted",
    default=None,
    help="Towards a wrong class, or away from the label [default: targeted from 100 classes].",
)
reference_option = click.option(
    "--reference/--accelerated",
    default=False,
    show_default=True,
    help="Attack the network as it is, or its BN-folded copy (same function, faster).",
)
precision_option = click.option(
    "--precision",
    type=OneOf(["fp32", "bf16", "auto"]),
    default="fp32",
    show_default=True,
    help="Precision of gradients; steps and verdicts are always float32. auto: bf16 if it is "
    "faster and no weaker on the run's first images.",
)
targets_option = click.option(
    "--targets",
    default="random",
    show_default=True,
    help="Classes of a targeted attack: random, least-likely, or a CSV file (image,target).",
)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _kind_of(one: "Field[Any]") -> Any:
    """Returns the click type that reads a parameter, by its annotation."""
    choices, least = one.metadata["choices"], one.metadata["least"]
    if choices:
        return OneOf(api.choices(choices) if isinstance(choices, str) else choices)
    kinds = [kind for kind in (get_args(one.type) or (one.type,)) if kind is not type(None)]
    if one.metadata["size"]:
        return str
    if tuple[int, ...] in (one.type, *kinds):
        return Budgets()
    if tuple[str, ...] in (one.type, *kinds):
        return Names()
    return click.IntRange(min=least) if kinds[0] is int else kinds[0]


def option_of(one: "Field[Any]") -> Decorator:
    """Returns the command-line option of a parameter."""
    name = one.metadata["flag"] or f"--{one.name.replace('_', '-')}"
    text, default = one.metadata["help"], one.default
    if one.type is bool:
        pair = "/" in name
        return click.option(
            name, one.name, is_flag=True, default=default, show_default=pair, help=text
        )
    if one.metadata["size"]:
        default = "auto" if default is None else default
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    shown = default is not None
    return click.option(
        name, one.name, type=_kind_of(one), default=default, show_default=shown, help=text
    )


def _options(kind: type[Parameters]) -> list[Decorator]:
    """Returns all options of an attack, in the order of its help."""
    parameters = [option_of(one) for one in fields(kind) if one.metadata.get("help")]
    norms = kind.norms or api.choices("norms")
    norm = click.option("--norm", type=OneOf(norms), default=norms[0], show_default=True)
    goal = [targeted_option, targets_option] if len(kind.goals) > 1 else []
    precision = [precision_option] if "bf16" in kind.precisions else []
    return [*parameters, eps_option, norm, *goal, *precision, reference_option, run_options]


def _request(attack: str, kind: type[Parameters], flags: dict[str, Any]) -> api.AttackRequest:
    """Builds the request for an attack from its flags, which are removed."""
    norm = flags.pop("norm")
    typed = {one.name: flags.pop(one.name) for one in fields(kind) if one.metadata.get("help")}
    for one in fields(kind):
        if one.metadata.get("size"):
            typed[one.name] = size(typed[one.name], norm, one.name)
    parameters = kind.typed(**typed)
    targeted, given = flags.pop("targeted", None), flags.pop("targets", "random")
    targets, wanted = api.targets_named(given)
    if targets != "random":
        if targeted is False:
            raise BadValue(f"--targets {given} contradicts --untargeted.")
        targeted = True
    if parameters.only_any_iterate:
        if targeted:
            raise BadValue("--stop-early needs --untargeted: a wrong class is not yet a hit.")
        targeted = False
    precision = _precision(flags.pop("precision", "fp32"), flags.pop("reference"))
    eps, radii = _radii(flags.pop("eps"), norm)
    return api.AttackRequest(
        attack, parameters, norm, eps, targeted, targets, wanted, precision, radii
    )


def _radii(text: str | None, norm: str) -> tuple[float | None, tuple[float, ...]]:
    """Returns the value of --eps, and all of them where there are several."""
    if text is None or "," not in text:
        return size(text, norm, "eps"), ()
    return None, tuple(parse_size(one, norm) for one in text.split(","))


def _precision(precision: str, reference: bool) -> str:
    if reference and precision != "fp32":
        raise BadValue(
            f"--reference attacks the network as it is: leave --precision {precision} out."
        )
    return "reference" if reference else precision


def command_of(attack: str) -> click.Command:
    """Returns the command of an attack, generated from its parameters."""
    kind = api.attack_parameters(attack)

    def attack_command(**flags: Any) -> None:
        run([_request(attack, kind, flags)], flags)

    callback: Callable[..., Any] = attack_command
    for decorate in reversed(_options(kind)):
        callback = decorate(callback)
    return click.command(attack, help=kind.summary)(callback)


@click.command()
@click.argument("name", metavar="BATTERY")
@precision_option
@run_options
def suite(name: str, precision: str, **flags: Any) -> None:
    """Run all attacks of a battery; `fdbench list attacks` shows them."""
    attacks = battery(name).attacks
    run([api.AttackRequest.of(spec, precision) for spec in attacks], flags)


# Commands that need more than the options of an attack's parameters.
_WRITTEN: dict[str, click.Command] = {"foolbox": foolbox, "transfer": transfer, "suite": suite}


_FOOLBOX = "It is one of Foolbox's: fdbench attack foolbox --attack {}"
# What to type for attacks that are known by a name of their own.
_HINTS = {
    "fgsm": "FGSM is one step of PGD: fdbench attack pgd --iters 1 --clean-start --alpha EPS",
    "square": "It is part of AutoAttack: fdbench attack autoattack",
    "fab": "It is part of AutoAttack: fdbench attack autoattack",
    "cw": _FOOLBOX.format("L2CarliniWagnerAttack --norm l2 --eps 0.5"),
    "deepfool": _FOOLBOX.format("LinfDeepFoolAttack"),
}


class _Attacks(Named):
    """A command for each attack; its parameters are read when it is named or listed."""

    kind = "attack"
    hints = _HINTS

    def list_commands(self, ctx: click.Context) -> list[str]:
        generated = [name for name in api.choices("attacks") if name not in _WRITTEN]
        return [*generated, *_WRITTEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _WRITTEN:
            return _WRITTEN[cmd_name]
        return command_of(cmd_name) if cmd_name in api.choices("attacks") else None


@click.group(cls=_Attacks)
def attack() -> None:
    """Attack models; an interrupted run resumes.

    Runs are kept under results/runs.
    """
