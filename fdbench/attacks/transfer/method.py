"""A transfer method: a function of surrogates, with its knobs and its cost. Free of torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fdbench.errors import BadValue, unknown
from fdbench.specs import Knobs

if TYPE_CHECKING:
    from fdbench.attacks.transfer.ensemble import Task
    from fdbench.types import Images

# Dong et al. 2018, Sec. 4.1: 10 iterations of eps / 10, mu 1. `kernel` smooths the gradient of a
# step (Dong et al. 2019, translation invariance); 0 leaves it as it is.
MOMENTUM: dict[str, int | float | str] = {"iters": 10, "mu": 1.0, "kernel": 0}

_AT_LEAST_1 = ("iters", "copies", "neighbours", "repeats", "blocks")
_SHARES = ("probability", "shrink", "rho", "warp")
_WORDS = {int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class Method:
    """One black-box method.

    Attributes:
        run: task -> adversarial images.
        cost: (knobs, number of surrogates) -> forward and backward passes of single networks.
        knobs: each knob's default.
        l2: whether it works in the l2 ball too.
        targeted: whether it can aim at target classes.
    """

    run: "Callable[[Task], Images]"
    cost: Callable[[Knobs, int], int]
    knobs: Mapping[str, int | float | str]
    l2: bool = True
    targeted: bool = True

    def complete(self, name: str, given: Knobs) -> dict[str, Any]:
        """Returns all knobs: the given ones, and defaults for the rest.

        Raises BadValue for a knob that the method `name` does not have, or an invalid value.
        """
        for knob, value in given.items():
            if knob not in self.knobs:
                raise unknown(f"knob of {name}", knob, self.knobs)
            _check_value(f"{name}: {knob}", knob, value, self.knobs[knob])
        return {**self.knobs, **given}


def _check_value(where: str, name: str, value: object, default: int | float | str) -> None:
    kinds = (int, float) if isinstance(default, float) else (type(default),)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise BadValue(f"{where} must be {_WORDS[type(default)]}, like {default!r}; got {value!r}.")
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
