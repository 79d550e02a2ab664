"""How far an image may be moved: project, step, start, measure. The only place that knows a norm.

Source: Madry et al. 2018, Sec. 2 (projected gradient descent); Xie et al. 2019, Sec. 6.1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from fdbench.errors import BadValue, unknown
from fdbench.types import Images


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]  # (B,) -> (B, 1, 1, 1)


def _length(delta: Tensor) -> Tensor:
    return delta.flatten(1).norm(dim=1)  # (B,)


def _linf_clip(delta: Tensor, eps: float) -> Tensor:
    return delta.clamp(-eps, eps)


def _l2_clip(delta: Tensor, eps: float) -> Tensor:
    return delta * _per_image((eps / _length(delta).clamp(min=1e-12)).clamp(max=1.0))


def _l1_clip(delta: Tensor, eps: float) -> Tensor:
    """The nearest point of the l1 ball: soft thresholding (Duchi et al. 2008, Fig. 1)."""
    size = delta.abs().flatten(1).double()  # float32's running sums leave the ball by 1e-6
    ordered = size.sort(dim=1, descending=True).values
    excess = ordered.cumsum(1) - eps
    count = torch.arange(1, size.shape[1] + 1, device=delta.device)
    last = (ordered * count > excess).sum(1, keepdim=True)
    threshold = (excess.gather(1, last - 1) / last).clamp(min=0.0)
    return delta.sign() * (size - threshold).clamp(min=0.0).reshape(delta.shape).to(delta.dtype)


def _l0_clip(delta: Tensor, eps: float) -> Tensor:
    """The eps largest values stay, the others return."""
    flat = delta.flatten(1)
    kept = flat.abs().topk(min(int(eps), flat.shape[1]), dim=1).indices
    return torch.zeros_like(flat).scatter(1, kept, flat.gather(1, kept)).reshape(delta.shape)


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
    length: Callable[[Tensor], Tensor]
    # PGD's step and random start; None where only other attacks know the norm.
    direction: Callable[[Tensor], Tensor] | None = None
    noise: Callable[[Tensor, Tensor, float], Tensor] | None = None


NORMS = {
    "linf": _Norm(_linf_clip, lambda d: d.abs().flatten(1).amax(1), torch.sign, _linf_noise),
    "l2": _Norm(_l2_clip, _length, _l2_direction, _l2_noise),
    "l1": _Norm(_l1_clip, lambda d: d.abs().flatten(1).sum(1)),
    "l0": _Norm(_l0_clip, lambda d: d.ne(0).flatten(1).sum(1).float()),  # values, not pixels
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
        return adv + alpha * self._known("direction")(grad)

    def start(self, x: Images, unit: Float32[Tensor, "B _"]) -> Images:
        """A random point of the ball, from 3 H W + 1 uniform numbers in [0, 1) an image.

        Not clipped to [0, 1], as the authors' is not before its first gradient (Xie et al. 2019,
        released code): the first step's projection makes it legal.
        """
        noise = self._known("noise")
        return x + noise(unit[:, :-1].reshape(x.shape), unit[:, -1], self.eps)

    def _known(self, part: str) -> Callable[..., Tensor]:
        found: Callable[..., Tensor] | None = getattr(NORMS[self.norm], part)
        if found is None:
            raise BadValue(f"PGD knows no steps in {self.norm}: linf or l2.")
        return found

    def distance(self, adv: Images, x: Images) -> Tensor:
        """How far each image was moved, (B,)."""
        return NORMS[self.norm].length(adv - x)
