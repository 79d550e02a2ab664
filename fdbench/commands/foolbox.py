"""fdbench attack foolbox: runs an attack of the installed Foolbox."""

from typing import Any

import click

from fdbench import api
from fdbench.commands.options import OneOf, eps_option, run_options, size
from fdbench.commands.running import run
from fdbench.specs import FoolboxParameters


@click.command(help=FoolboxParameters.summary)
@click.option("--attack", "name", required=True, help="One of `fdbench list attacks --foolbox`.")
@click.option(
    "--set", "pairs", multiple=True, help="A setting of the attack, key=value; may be repeated."
)
@eps_option
@click.option(
    "--norm",
    type=OneOf(["linf", "l2", "l1", "l0"]),
    help="For attacks that support several [default: the attack's].",
)
@click.option(
    "--targeted/--untargeted",
    default=False,
    help="Towards a wrong class, or away from the label [default: untargeted].",
)
@click.option(
    "--reference/--accelerated",
    default=False,
    show_default=True,
    help="Attack the network as it is, or its BN-folded copy (same function, faster).",
)
@run_options
def foolbox(
    name: str,
    pairs: tuple[str, ...],
    eps: str | None,
    norm: str | None,
    targeted: bool,
    reference: bool,
    **flags: Any,
) -> None:
    chosen, parameters = api.foolbox_parameters(name, pairs, norm, targeted)
    attack = api.AttackRequest(
        "foolbox", parameters, chosen, size(eps, chosen, "eps"), targeted,
        precision="reference" if reference else "fp32",
    )  # fmt: skip
    run([attack], flags)
