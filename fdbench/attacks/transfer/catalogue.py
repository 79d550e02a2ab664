"""Every transfer method by name, and its knobs. Free of torch.

Sources, and what each method adds: attacks/caad2017.toml and attacks/transfer-modern.toml.
"""

from typing import Any

from fdbench.attacks import transfer
from fdbench.attacks.transfer.method import Method
from fdbench.registry import Registry
from fdbench.specs import Knobs

METHODS: Registry[Method] = Registry(
    kind="transfer method",
    group="fdbench.transfer_methods",
    built_in={
        "noise": lambda: transfer.NOISE,
        "ifgsm": lambda: transfer.IFGSM,
        "momentum": lambda: transfer.MOMENTUM,
        "phases": lambda: transfer.PHASES,
        "smoothed": lambda: transfer.SMOOTHED,
        "generator": lambda: transfer.GENERATOR,
        "diverse": lambda: transfer.DIVERSE,
        "scale": lambda: transfer.SCALE,
        "variance": lambda: transfer.VARIANCE,
        "spectrum": lambda: transfer.SPECTRUM,
        "shuffle": lambda: transfer.SHUFFLE,
        "mef": lambda: transfer.MEF,
    },
    fits=lambda offered: isinstance(offered, Method),
    wanted="an fdbench.attacks.Method",
)


def complete(method: str, knobs: Knobs) -> dict[str, Any]:
    """Returns all knobs of the method: the given ones, and defaults for the rest.

    Raises BadValue for an unknown method or knob, or an invalid value.
    """
    return METHODS[method].complete(method, knobs)


def count_passes(method: str, knobs: Knobs, nets: int) -> int:
    """Counts the single-network forward and backward passes that a batch costs."""
    return METHODS[method].cost(complete(method, knobs), nets)
