"""What the losses along a trajectory say of an attack that failed.

Two of the six indicators of Pintor et al. 2022, "Indicators of Attack Failure" (Sec. 3): incomplete
optimisation and transfer failure, from the passes that the attack makes anyway. The rows' first
wrong iterate has a third one, silent success.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from fdbench.types import Labels, Values

TAIL = 0.1  # of the iterations, at the end
MOVES = 0.05  # of the loss's whole rise; more than that in the tail is an unfinished climb


@dataclass
class Course:
    """The attacked network's loss of each image, at every iterate but the last.

    Attributes:
        last: iterations of the trajectory.
        first, best, then: the loss at the start, the highest one, the highest one before the tail.
        disputed: images with an iterate that the attacked network has wrong and the judge right.
    """

    last: int
    first: Values
    best: Values
    then: Values
    disputed: Bool[Tensor, " B"]

    @classmethod
    def of(cls, label: Labels, last: int) -> "Course":
        """A course of as many images as there are labels, before the first step."""
        low = torch.full(label.shape, -torch.inf, device=label.device)
        return cls(last, low, low.clone(), low.clone(), torch.zeros_like(label, dtype=torch.bool))

    def learn(self, step: int, index: Labels, loss: Values) -> None:
        """Records the loss of some images, by position, at the iterate that `step` starts from."""
        if step == 1:
            self.first[index] = loss
        self.best[index] = torch.maximum(self.best[index], loss)
        if step <= self.last - max(round(TAIL * self.last), 1):
            self.then[index] = self.best[index]

    def put(self, at: Labels, other: "Course") -> None:
        """Takes another course of the images at some positions in place of theirs.

        What was disputed stays so.
        """
        for mine, theirs in (
            (self.first, other.first), (self.best, other.best), (self.then, other.then),
        ):  # fmt: skip
            mine[at] = theirs
        self.disputed[at] |= other.disputed

    @property
    def incomplete(self) -> Bool[Tensor, " B"]:
        """Whether an image's loss still rose in the last tenth of the steps (Pintor's fourth).

        By more than MOVES of its whole rise. Never of a single step, which has no tail.
        """
        rise = self.best - self.first
        return (self.best - self.then > MOVES * rise) & torch.isfinite(self.then) & (rise > 0)
