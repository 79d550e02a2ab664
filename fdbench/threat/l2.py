"""l2: the Euclidean length of an image's perturbation is at most eps."""

import torch
from torch import Tensor

from fdbench.threat.norm import Norm, per_image


def _length(delta: Tensor) -> Tensor:
    return delta.flatten(1).norm(dim=1)


def _clip(delta: Tensor, eps: float) -> Tensor:
    return delta * per_image((eps / _length(delta).clamp(min=1e-12)).clamp(max=1.0))


def _direction(grad: Tensor) -> Tensor:
    return grad / per_image(_length(grad).clamp(min=1e-12))


def _noise(unit: Tensor, radius: Tensor, eps: float) -> Tensor:
    """Draws uniformly from the ball: a normal direction and a radius of u^(1/d)."""
    normal = torch.special.ndtri(unit.clamp(1e-7, 1 - 1e-7))
    return _direction(normal) * per_image(eps * radius ** (1 / unit[0].numel()))


L2 = Norm(_clip, _length, _direction, _noise)
