"""A fixed 3x3 binomial filter, for comparison with the paper's mean filter."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Binomial(nn.Module):
    """Smooths every channel with (1 2 1)^T (1 2 1) / 16; the border is replicated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        row = x.new_tensor([0.25, 0.5, 0.25])
        kernel = torch.outer(row, row).expand(self.channels, 1, 3, 3)
        padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv2d(padded, kernel, groups=self.channels)
