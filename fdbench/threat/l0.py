"""l0: at most eps values of an image change; a pixel has three values."""

import torch
from torch import Tensor

from fdbench.threat.norm import Norm


def _clip(delta: Tensor, eps: float) -> Tensor:
    """Keeps the eps largest values and sets the others to zero."""
    flat = delta.flatten(1)
    kept = flat.abs().topk(min(int(eps), flat.shape[1]), dim=1).indices
    return torch.zeros_like(flat).scatter(1, kept, flat.gather(1, kept)).reshape(delta.shape)


def _length(delta: Tensor) -> Tensor:
    return delta.ne(0).flatten(1).sum(1).float()


L0 = Norm(_clip, _length)
