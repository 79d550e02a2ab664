"""Options that state how a network takes its images; they become part of its reference."""

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, TypeVar

import click

from fdbench.errors import BadValue
from fdbench.specs import ORDERS, RANGES, Stated, crop, numbers

F = TypeVar("F", bound=Callable[..., Any])

# The option of each field of Stated.
_FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": (
        "--mean",
        {"help": "What the network subtracts, in [0, 1]: one number, or R,G,B as 0.485,0.456,0.406 "
         "[default: as its source says]."},
    ),
    "std": ("--std", {"help": "What it divides by, like --mean."}),
    "px": (
        "--net-px",
        {"type": click.IntRange(min=1), "help": "Side to which the network resizes the images."},
    ),
    "crop": (
        "--crop",
        {"help": "Side to which it resizes images of another size before it takes the central "
         "--net-px, as 256; source: as its weights' metadata say [default: no crop]."},
    ),
    "order": ("--order", {"type": click.Choice(ORDERS), "help": "Its channels' order."}),
    "range": (
        "--range",
        {"type": click.Choice([str(one) for one in RANGES]), "help": "Its largest pixel value."},
    ),
    "arch": (
        "--arch",
        {"help": "Whose weights --model FILE.pt holds: tv:NAME, timm:NAME, rb:DATA/THREAT/NAME."},
    ),
    "factory": (
        "--factory",
        {"help": "The code that makes the network whose weights --model FILE.pt holds: "
         "net.py:Net or module:function."},
    ),
    "trust_pickle": (
        "--trust-pickle",
        {"is_flag": True, "help": "Open a file that can run code. Recorded with the results."},
    ),
}  # fmt: skip


def _stated(flags: dict[str, Any]) -> Stated:
    """Builds what is stated from its flags, which are removed."""
    given = {one.name: flags.pop(f"net_{one.name}") for one in fields(Stated)}
    for name in ("mean", "std"):
        if given[name] is not None:
            given[name] = numbers(given[name], name)
    if given["crop"] is not None:
        given["crop"] = crop(given["crop"])
    if given["range"] is not None:
        given["range"] = int(given["range"])
    return Stated(**given)


def with_stated(refs: tuple[str, ...], stated: Stated) -> tuple[str, ...]:
    """Returns the references with what is stated of them.

    Raises BadValue unless it is stated of exactly one.
    """
    if not stated.fragment:
        return refs
    option = f"--{next(iter(stated.named))}".replace("--px", "--net-px")
    if len(refs) != 1:
        raise BadValue(
            f"{option} is said of one network, and --model names {len(refs) or 'none'}.\n"
            "Of several, say it in each reference: --model 'net.py:load#mean=0.5&std=0.5'"
        )
    return (stated.added_to(refs[0]),)


def stating(function: F) -> F:
    """Adds the options; the function gets references that state what they said."""

    @wraps(function)
    def with_references(*args: Any, **flags: Any) -> Any:
        stated = _stated(flags)
        if "models" in flags:
            flags["models"] = with_stated(flags["models"], stated)
        else:
            refs = (flags["model"],) if flags["model"] else ()
            flags["model"] = next(iter(with_stated(refs, stated)), None)
        return function(*args, **flags)

    decorated: Any = with_references
    for one in reversed(fields(Stated)):
        flag, settings = _FLAGS[one.name]
        decorated = click.option(flag, f"net_{one.name}", **settings)(decorated)
    return decorated
