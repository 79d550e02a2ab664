"""A transfer method: a function of surrogates, with its knobs and its cost. Free of torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fdbench.errors import BadValue, unknown
from fdbench.specs import Knobs

if TYPE_CHECKING:
    from fdbench.attacks.transfer.ensemble import Task
    from fdbench.types import Images

# Dong et al. 2018, Sec. 4.1: 10 iterations of eps / 10, mu 1. `kernel` smooths the gradient of a
# step (Dong et al. 2019, translation invariance); 0 leaves it as it is.
MOMENTUM: dict[str, int | float | str] = {"iters": 10, "mu": 1.0, "kernel": 0}

# Knobs of the methods that climb, added after sets had been made, at the values these had. `alpha`
# is the step in image units; where it is 0, `step` is the step as a share of eps; where that is 0
# too, a step is eps / iters. `loss` is one of LOSSES.
LATER: dict[str, int | float | str] = {"alpha": 0.0, "step": 0.0, "loss": "ce"}
# The best step of eps / iters, eps / 8, eps / 4 and eps / 2: CIFAR-10, r20-clean against
# r20-clean12, 300 images, 8/255, 10 iterations, untargeted. momentum leaves 19.3 % instead of 28.0
# (p 2e-5), diverse 21.0 instead of 29.3 (p 1e-4). Under scale, whose gradients look ahead by a
# step, it is 36.3 instead of 25.7. The logit loss made no difference.
LONG: dict[str, int | float | str] = {"step": 0.5}
LOSSES = ("ce", "logit")

_AT_LEAST_1 = ("iters", "copies", "neighbours", "repeats", "blocks")
_SHARES = ("probability", "shrink", "rho", "warp", "inner_mu")
_WORDS = {int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class Method:
    """One black-box method.

    Attributes:
        run: task -> adversarial images.
        cost: (knobs, number of surrogates) -> forward and backward passes of single networks.
        knobs: each knob's default.
        later: knobs added since, which a set's identity leaves out at their defaults.
        better: defaults of later knobs that measurements, or the method's own paper, chose.
        files: knobs that name a file, whose content is part of the attacker.
        l2: whether it works in the l2 ball too.
        targeted: whether it can aim at target classes.
    """

    run: "Callable[[Task], Images]"
    cost: Callable[[Knobs, int], int]
    knobs: Mapping[str, int | float | str]
    later: Mapping[str, int | float | str] = field(default_factory=dict)
    better: Mapping[str, int | float | str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    l2: bool = True
    targeted: bool = True

    def complete(self, name: str, given: Knobs) -> dict[str, Any]:
        """Returns all knobs: the given ones, and defaults for the rest.

        Raises BadValue for a knob that the method `name` does not have, or an invalid value.
        """
        known = {**self.knobs, **self.later}
        for knob, value in given.items():
            if knob not in known:
                raise unknown(f"knob of {name}", knob, known)
            _check_value(f"{name}: {knob}", knob, value, known[knob])
        return {**known, **self.better, **given}

    def recorded(self, knobs: Knobs) -> dict[str, Any]:
        """Returns the knobs that a set records: all but later ones at their defaults."""
        return {k: v for k, v in knobs.items() if k not in self.later or v != self.later[k]}


def _check_value(where: str, name: str, value: object, default: int | float | str) -> None:
    kinds = (int, float) if isinstance(default, float) else (type(default),)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise BadValue(f"{where} must be {_WORDS[type(default)]}, like {default!r}; got {value!r}.")
    if name == "loss" and value not in LOSSES:
        raise unknown(where, str(value), LOSSES)
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
