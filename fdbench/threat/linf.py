"""linf: every pixel and channel moves by at most eps."""

import torch
from torch import Tensor

from fdbench.threat.norm import Norm


def _clip(delta: Tensor, eps: float) -> Tensor:
    return delta.clamp(-eps, eps)


def _length(delta: Tensor) -> Tensor:
    return delta.abs().flatten(1).amax(1)


def _noise(unit: Tensor, radius: Tensor, eps: float) -> Tensor:
    return (2 * unit - 1) * eps  # uniform per value: needs no radius


LINF = Norm(_clip, _length, torch.sign, _noise)
