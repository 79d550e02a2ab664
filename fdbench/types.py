"""Tensor shapes and the batch that modules share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from fdbench.randomness import ImageId

Net = Callable[[Tensor], Tensor]  # images to logits
Images = Float32[Tensor, "B 3 H W"]  # RGB in [0, 1], contract C1
Logits = Float32[Tensor, "B C"]
Labels = Int64[Tensor, " B"]
Values = Float32[Tensor, " B"]  # one number per image


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images of a data set, with their true labels and the ids that seed their randomness."""

    x: Images
    label: Labels
    ids: tuple[ImageId, ...]

    def part(self, places: slice) -> "Batch":
        """The images at these places, in their order."""
        return Batch(self.x[places], self.label[places], self.ids[places])

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        return Batch(self.x.to(device), self.label.to(device), self.ids)
