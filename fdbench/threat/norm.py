"""The functions that define a norm, and a helper they share. Source: Madry et al. 2018, Sec. 2."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Norm:
    """The geometry of a norm's balls; all functions take a batch and treat each image separately.

    Attributes:
        clip: (B, ...) perturbations and eps -> the nearest perturbations within eps.
        length: (B, ...) perturbations -> (B,) their norms.
        direction: (B, ...) gradients -> the steepest ascent of length 1. None where PGD has no
            steps in this norm.
        noise: numbers uniform in [0, 1), (B, ...) and (B,), and eps -> random points of the ball.
    """

    clip: Callable[[Tensor, float], Tensor]
    length: Callable[[Tensor], Tensor]
    direction: Callable[[Tensor], Tensor] | None = None
    noise: Callable[[Tensor, Tensor, float], Tensor] | None = None


def per_image(values: Tensor) -> Tensor:
    """Reshapes (B,) to (B, 1, 1, 1): one value for all pixels of an image."""
    return values[:, None, None, None]
