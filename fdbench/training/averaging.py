"""The moving average of a network's weights (Gowal et al. 2020, Sec. 4.3)."""

import torch
from torch import nn


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, rate: float) -> None:
    """Moves every weight and batch-norm statistic of `average` by `rate` of its way to `net`'s.

    Averaged statistics stand for those that the averaged weights would have: the two agree where
    the weights change slowly, as they do when the learning rate nears its end. Counters are copied.
    """
    for mine, its in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(its, rate)
        else:
            mine.copy_(its)
