"""Gradients averaged over neighbouring pixels with Gaussian weights.

Dong et al. 2019, Sec. 3.2: smoothing the gradient nearly equals averaging the gradients of
shifted images, so the result depends less on where exactly the surrogate looks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fdbench.types import Images


def gaussian(size: int, sigma: float) -> Tensor:
    """Returns (size,) Gaussian weights at whole pixels around the middle; they sum to 1."""
    distance = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    weights = torch.exp(-(distance**2) / (2 * sigma**2))
    return weights / weights.sum()


def smooth(grad: Images, size: int, reach: float = 3.0) -> Images:
    """Convolves `grad` with a size x size Gaussian, zero beyond the border; size 0 does nothing.

    The kernel ends `reach` standard deviations from its middle: 3 in Dong et al. 2019, released
    code, for sigma = 1 at 7 x 7.
    """
    if size <= 1:
        return grad
    line = gaussian(size, (size - 1) / 2 / reach).to(grad.device)
    across = line.expand(3, 1, 1, size)  # depthwise, separable: one row, then one column
    rows = F.conv2d(grad, across, padding=(0, size // 2), groups=3)
    return F.conv2d(rows, across.mT, padding=(size // 2, 0), groups=3)
