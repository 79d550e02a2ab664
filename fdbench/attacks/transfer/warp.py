"""Images looked at through a moved grid: resizing, shifting, rotating, cutting up."""

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from fdbench.types import Images

# What lies beyond the border: mid-grey, the 0 of networks that scale to [-1, 1], as the
# competition's did.
GREY = 0.5


def resample(x: Images, grid: Float32[Tensor, "B H W 2"]) -> Images:
    """`x` at the grid's positions, bilinear; (-1, -1) .. (1, 1) are the outer corners."""
    seen = F.grid_sample(x - GREY, grid, padding_mode="zeros", align_corners=False)
    return seen + GREY


def affine(x: Images, matrix: Float32[Tensor, "B 2 3"]) -> Images:
    """Each image at `matrix` times its own coordinates (x, y, 1), the middle being (0, 0)."""
    return resample(x, F.affine_grid(matrix, list(x.shape), align_corners=False))


def identity(x: Images) -> Float32[Tensor, "B 2 3"]:
    """The matrix of each image that leaves it where it is."""
    return torch.eye(2, 3, device=x.device).repeat(x.shape[0], 1, 1)
