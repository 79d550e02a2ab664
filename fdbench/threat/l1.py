"""l1: the absolute values of an image's perturbation sum to at most eps."""

import torch
from torch import Tensor

from fdbench.threat.norm import Norm


def _clip(delta: Tensor, eps: float) -> Tensor:
    """Returns the nearest point of the l1 ball: soft thresholding (Duchi et al. 2008, Fig. 1)."""
    size = delta.abs().flatten(1).double()  # float32's running sums leave the ball by 1e-6
    ordered = size.sort(dim=1, descending=True).values
    excess = ordered.cumsum(1) - eps
    count = torch.arange(1, size.shape[1] + 1, device=delta.device)
    last = (ordered * count > excess).sum(1, keepdim=True)
    threshold = (excess.gather(1, last - 1) / last).clamp(min=0.0)
    return delta.sign() * (size - threshold).clamp(min=0.0).reshape(delta.shape).to(delta.dtype)


def _length(delta: Tensor) -> Tensor:
    return delta.abs().flatten(1).sum(1)


L1 = Norm(_clip, _length)
