"""rms: the root mean square of an image's perturbation, which means the same at every size."""

import torch
from torch import Tensor

from fdbench.threat import Norm


def _length(delta: Tensor) -> Tensor:
    return delta.flatten(1).square().mean(1).sqrt()


def _scaled(delta: Tensor, length: Tensor) -> Tensor:
    return delta * (length / _length(delta).clamp(min=1e-12))[:, None, None, None]


def _clip(delta: Tensor, eps: float) -> Tensor:
    return _scaled(delta, _length(delta).clamp(max=eps))


def _direction(grad: Tensor) -> Tensor:
    return _scaled(grad, torch.ones_like(grad[:, 0, 0, 0]))


def _noise(unit: Tensor, radius: Tensor, eps: float) -> Tensor:
    """Uniform in the ball: a normal direction and a radius of u^(1/d)."""
    normal = torch.special.ndtri(unit.clamp(1e-7, 1 - 1e-7))
    return _scaled(normal, eps * radius ** (1 / unit[0].numel()))


RMS = Norm(_clip, _length, _direction, _noise)
