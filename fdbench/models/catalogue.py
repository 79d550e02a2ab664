"""Denoisers, third-party networks, and networks of other packages, by name. Free of torch."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fdbench import models
from fdbench.registry import Registry
from fdbench.specs import BOTTLENECK, NO_DENOISER

if TYPE_CHECKING:
    from torch import nn

DENOISERS: Registry[Callable[[int], "nn.Module"]] = Registry(
    kind="denoiser",
    group="fdbench.denoisers",
    built_in={
        "nonlocal-gauss": lambda: models.NonlocalGauss,
        "nonlocal-dot": lambda: models.NonlocalDot,
        "bilateral-gauss": lambda: models.BilateralGauss,
        "bilateral-dot": lambda: models.BilateralDot,
        "mean": lambda: models.Mean,
        "median": lambda: models.Median,
        "null": lambda: models.Null,
    },
    fits=callable,
    wanted="a torch.nn.Module class that takes the number of channels",
)

# By the prefix of a reference: the function that opens the rest of it.
ZOO: Registry[Callable[[str], "models.Foreign"]] = Registry(
    kind="source of models",
    group="fdbench.zoo",
    built_in={
        "tv": lambda: models.from_torchvision,
        "timm": lambda: models.from_timm,
        "hf": lambda: models.from_hub,
        "rb": lambda: models.from_robustbench,
    },
    fits=callable,
    wanted="a function that takes what follows the prefix and returns an fdbench.models.Foreign",
)

OFFERED: Registry[Callable[[], "nn.Module"]] = Registry(
    kind="model",
    group="fdbench.models",
    built_in={},
    fits=callable,
    wanted="a function without arguments that returns a torch.nn.Module",
)


def denoise_choices() -> tuple[str, ...]:
    """Returns the values of --denoise: the baseline, the denoisers and the extra bottleneck."""
    return (NO_DENOISER, *DENOISERS, BOTTLENECK)
