"""Black-box attackers: functions of an ensemble of surrogate networks, never of the victim.

Each is a row of METHODS with knobs of its own. Whose method it is and what it adds stands in
attacks/caad2017.toml and attacks/transfer-modern.toml; craft.py runs them. Free of torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fdbench.errors import BadValue, unknown
from fdbench.registry import imported

Knobs = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """Where an attacker's code is, as "module:function", and the knobs it has."""

    run: str  # (Task) -> adversarial images
    knobs: Mapping[str, int | float | str]  # name: value where nothing is said
    steps: str  # (knobs, number of networks) -> how often it ticks for a batch
    l2: bool = True  # works in the l2 ball too
    targeted: bool = True  # can be given classes to reach


_HERE = "fdbench.attacks.transfer"
_VIEWS = f"{_HERE}.momentum:count_passes"
# Dong et al. 2018, Sec. 4.1: 10 iterations of eps / 10, mu 1. `kernel` smooths the gradient of a
# step (Dong et al. 2019, translation invariance); 0 leaves it as it is.
_MOMENTUM: dict[str, int | float | str] = {"iters": 10, "mu": 1.0, "kernel": 0}

METHODS: dict[str, Method] = {
    "noise": Method(f"{_HERE}.noise:noise", {}, f"{_HERE}.noise:once", l2=False, targeted=False),
    "ifgsm": Method(f"{_HERE}.momentum:ifgsm", {"iters": 10}, _VIEWS),
    "momentum": Method(f"{_HERE}.momentum:momentum", _MOMENTUM, _VIEWS),
    "phases": Method(
        f"{_HERE}.phases:phases",
        {"noise": 0.2, "warp": 0.02, "repeats": 2},
        f"{_HERE}.phases:count_passes",
        l2=False,
    ),
    "smoothed": Method(
        f"{_HERE}.smoothed:smoothed", {"iters": 15, "step": 0.4, "kernel": 7}, _VIEWS, l2=False
    ),
    "generator": Method(
        f"{_HERE}.generator:generator",
        {"weights": "results/attackers/generator.safetensors"},
        f"{_HERE}.generator:count_passes",
        l2=False,
        targeted=False,
    ),
    "diverse": Method(
        f"{_HERE}.diverse:diverse",
        {**_MOMENTUM, "copies": 1, "probability": 0.5, "shrink": 0.1},
        _VIEWS,
    ),
    "scale": Method(f"{_HERE}.scale:scale", {**_MOMENTUM, "copies": 5}, _VIEWS),
    "variance": Method(
        f"{_HERE}.variance:variance",
        {**_MOMENTUM, "neighbours": 20, "radius": 1.5},
        f"{_HERE}.variance:count_passes",
    ),
    "spectrum": Method(
        f"{_HERE}.spectrum:spectrum",
        {**_MOMENTUM, "copies": 20, "noise": 1.0, "rho": 0.5},
        _VIEWS,
    ),
    "shuffle": Method(
        f"{_HERE}.shuffle:shuffle",
        {**_MOMENTUM, "copies": 20, "blocks": 3, "degrees": 24.0},
        _VIEWS,
    ),
}

_AT_LEAST_1 = ("iters", "copies", "neighbours", "repeats", "blocks")
_SHARES = ("probability", "shrink", "rho", "warp")


def check(method: str, knobs: Knobs) -> None:
    """Nothing, if there is such a method and it has these knobs, with such values.

    Raises BadValue otherwise, naming what is allowed.
    """
    if method not in METHODS:
        raise unknown("transfer method", method, METHODS)
    known = METHODS[method].knobs
    for name, value in knobs.items():
        if name not in known:
            raise unknown(f"knob of {method}", name, known)
        _check_value(f"{method}: {name}", name, value, known[name])


def _check_value(where: str, name: str, value: object, default: int | float | str) -> None:
    kinds = (int, float) if isinstance(default, float) else (type(default),)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise BadValue(f"{where} must be {_words(default)}, like {default!r}; got {value!r}.")
    if isinstance(value, str):
        return
    low = 1 if name in _AT_LEAST_1 else 0
    if not low <= value < float("inf"):
        raise BadValue(f"{where} must be {low} or more, got {value!r}.")
    if name in _SHARES and value > 1:
        raise BadValue(f"{where} is a share, from 0 to 1; got {value!r}.")
    if name == "shrink" and value == 1:
        raise BadValue(f"{where} must be below 1: nothing would be left of the image.")
    if name == "kernel" and value and value % 2 == 0:
        raise BadValue(f"{where} is the odd side of a square, or 0 for none; got {value!r}.")


def _words(default: int | float | str) -> str:
    return {int: "a whole number", float: "a number", str: "text"}[type(default)]


def complete(method: str, knobs: Knobs) -> dict[str, Any]:
    """All knobs of the method: the given ones, and defaults for the rest. Raises as `check`."""
    check(method, knobs)
    return {**METHODS[method].knobs, **knobs}


def count_steps(method: str, knobs: Knobs, nets: int) -> int:
    """How often the method ticks for a batch: its forward and backward passes of single nets."""
    count: int = imported(METHODS[method].steps)(complete(method, knobs), nets)
    return count
