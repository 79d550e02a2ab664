"""How far an image may be moved: project, step, start, measure. The only place that knows a norm.

Source: Madry et al. 2018, Sec. 2 (projected gradient descent); Xie et al. 2019, Sec. 6.1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from fdbench.errors import unknown
from fdbench.types import Images


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]  # (B,) -> (B, 1, 1, 1)


def _length(delta: Tensor) -> Tensor:
    return delta.flatten(1).norm(dim=1)  # (B,)


def _linf_clip(delta: Tensor, eps: float) -> Tensor:
    return delta.clamp(-eps, eps)


def _l2_clip(delta: Tensor, eps: float) -> Tensor:
    return delta * _per_image((eps / _length(delta).clamp(min=1e-12)).clamp(max=1.0))


def _l2_direction(grad: Tensor) -> Tensor:
    return grad / _per_image(_length(grad).clamp(min=1e-12))


def _linf_noise(unit: Tensor, radius: Tensor, eps: float) -> Tensor:
    return (2 * unit - 1) * eps  # the cube is a product: it needs no radius


def _l2_noise(unit: Tensor, radius: Tensor, eps: float) -> Tensor:
    """Uniform in the ball: a normal direction and a radius of u^(1/d)."""
    normal = torch.special.ndtri(unit.clamp(1e-7, 1 - 1e-7))
    return _l2_direction(normal) * _per_image(eps * radius ** (1 / unit[0].numel()))


@dataclass(frozen=True)
class _Norm:
    clip: Callable[[Tensor, float], Tensor]
    direction: Callable[[Tensor], Tensor]
    noise: Callable[[Tensor, Tensor, float], Tensor]
    length: Callable[[Tensor], Tensor]


NORMS = {
    "linf": _Norm(_linf_clip, torch.sign, _linf_noise, lambda d: d.abs().flatten(1).amax(1)),
    "l2": _Norm(_l2_clip, _l2_direction, _l2_noise, _length),
}


@dataclass(frozen=True)
class Threat:
    """All images within `eps` (image units) of the clean one, in `norm`, that lie in [0, 1]."""

    norm: str
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise unknown("norm", self.norm, NORMS)

    def project(self, adv: Images, x: Images) -> Images:
        """A legal image near `adv`: ball first, then box, which leaves it in both."""
        return (x + NORMS[self.norm].clip(adv - x, self.eps)).clamp(0, 1)

    def move(self, adv: Images, grad: Images, alpha: float) -> Images:
        """One step of length `alpha` along the steepest ascent in this norm."""
        return adv + alpha * NORMS[self.norm].direction(grad)

    def start(self, x: Images, unit: Float32[Tensor, "B _"]) -> Images:
        """A random point of the ball, from 3 H W + 1 uniform numbers in [0, 1) an image.

        Not clipped to [0, 1], as the authors' is not before its first gradient (Xie et al. 2019,
        released code): the first step's projection makes it legal.
        """
        return x + NORMS[self.norm].noise(unit[:, :-1].reshape(x.shape), unit[:, -1], self.eps)

    def distance(self, adv: Images, x: Images) -> Tensor:
        """How far each image was moved, (B,)."""
        return NORMS[self.norm].length(adv - x)
