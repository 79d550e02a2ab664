"""How far an image may be moved: project, step, start, measure.

Source: Madry et al. 2018, Sec. 2 (projected gradient descent); Xie et al. 2019, Sec. 6.1.
"""

from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float32
from torch import Tensor

from fdbench.errors import BadValue
from fdbench.threat.catalogue import NORMS
from fdbench.threat.norm import Norm
from fdbench.types import Images


@dataclass(frozen=True)
class Threat:
    """All images in [0, 1] within `eps` (image units) of the clean one, in `norm`.

    Raises BadValue for an unknown norm.
    """

    norm: str
    eps: float

    def __post_init__(self) -> None:
        NORMS.check(self.norm)

    @cached_property
    def geometry(self) -> Norm:
        """The norm's functions."""
        return NORMS[self.norm]

    def project(self, adv: Images, x: Images) -> Images:
        """Projects `adv` onto the ball, then the box, which keeps it inside both."""
        return (x + self.geometry.clip(adv - x, self.eps)).clamp(0, 1)

    def move(self, adv: Images, grad: Images, alpha: float | Tensor) -> Images:
        """Takes one step of length `alpha` along the steepest ascent in this norm.

        Raises BadValue for a norm without steps.
        """
        if self.geometry.direction is None:
            raise self._without_steps()
        return adv + alpha * self.geometry.direction(grad)

    def start(self, x: Images, unit: Float32[Tensor, "B _"]) -> Images:
        """Returns a random point of the ball, from 3 H W + 1 uniform numbers in [0, 1) per image.

        Not clipped to [0, 1], like the authors' before its first gradient (Xie et al. 2019,
        released code): the first step's projection makes it legal. Raises BadValue for a norm
        without random starts.
        """
        if self.geometry.noise is None:
            raise self._without_steps()
        return x + self.geometry.noise(unit[:, :-1].reshape(x.shape), unit[:, -1], self.eps)

    @property
    def has_steps(self) -> bool:
        """Whether gradient steps and random starts exist in this norm."""
        return self.geometry.direction is not None and self.geometry.noise is not None

    def check_steps(self) -> None:
        """Raises BadValue for a norm without gradient steps."""
        if not self.has_steps:
            raise self._without_steps()

    def _without_steps(self) -> BadValue:
        able = [name for name in NORMS if Threat(name, self.eps).has_steps]
        return BadValue(f"PGD has no steps in {self.norm}: give --norm {' or '.join(able)}.")

    def distance(self, adv: Images, x: Images) -> Tensor:
        """Returns how far each image was moved, (B,)."""
        return self.geometry.length(adv - x)
