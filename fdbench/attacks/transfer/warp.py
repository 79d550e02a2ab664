"""Images resampled on a moved grid: resizing, shifting, rotating, cutting up."""

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from fdbench.types import Images

# The value beyond the border: mid-grey, which is 0 to networks that scale to [-1, 1], as in the
# competition.
GREY = 0.5


def resample(x: Images, grid: Float32[Tensor, "B H W 2"]) -> Images:
    """Samples `x` at the grid's positions, bilinearly; (-1, -1) .. (1, 1) are the outer corners."""
    sampled = F.grid_sample(x - GREY, grid, padding_mode="zeros", align_corners=False)
    return sampled + GREY


def affine(x: Images, matrix: Float32[Tensor, "B 2 3"]) -> Images:
    """Samples each image at `matrix` times its coordinates (x, y, 1); (0, 0) is the middle."""
    return resample(x, F.affine_grid(matrix, list(x.shape), align_corners=False))


def identity(x: Images) -> Float32[Tensor, "B 2 3"]:
    """Returns the affine matrix that leaves an image unchanged, once per image."""
    return torch.eye(2, 3, device=x.device).repeat(x.shape[0], 1, 1)
