"""The classes a targeted attack wants (contract C3: drawn per image)."""

import torch

from fdbench import randomness
from fdbench.types import Batch, Labels


def draw_targets(batch: Batch, classes: int, seed: int, stream: str = "target") -> Labels:
    """A wrong class for each image, uniform over all others.

    Xie et al. 2019, released code: (label + U{1..C-1}) mod C, one draw an image.
    """
    shift = [1 + randomness.integer(seed, stream, i, classes - 1) for i in batch.ids]
    return (batch.label + torch.tensor(shift, device=batch.label.device)) % classes
