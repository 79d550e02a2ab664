"""The gradient of a loss with respect to images, or the finding that there is none."""

import torch
from torch import Tensor

from fdbench.errors import NoGradient
from fdbench.types import Images


def input_gradient(total: Tensor, leaf: Images) -> Images:
    """Returns the gradient of a sum with respect to `leaf`. Raises NoGradient if it is cut."""
    if not total.requires_grad:
        raise NoGradient
    (grad,) = torch.autograd.grad(total, leaf, allow_unused=True)
    if grad is None:
        raise NoGradient
    return grad
