"""Quick attacks of other papers, rebuilt from their descriptions, for `verdict.py`."""

from math import cos, pi

import torch
from torch import Tensor, nn

from fdbench.attacks import probability_margin
from fdbench.attacks.pgd import gradient, random_start
from fdbench.threat import Threat
from fdbench.types import Batch, Images

_STARTS, _ITERS = 2, 100


def probability_margin_attack(net: nn.Module, batch: Batch, threat: Threat) -> Images:
    """PMA: the margin of probabilities, by steps of eps (1 + cos), annealed twice; two starts.

    Images leave as soon as they are wrong, so at most 200 steps are spent on an image.
    """
    adv = batch.x.clone()
    left = (net(batch.x).argmax(1) == batch.label).nonzero()[:, 0]
    for start in range(_STARTS):
        at = random_start(batch.ids, batch.x, threat, f"pma-{start}", 0)[left]
        at = threat.project(at, batch.x[left])
        for step in range(_ITERS):
            grad, logits = gradient(net, at, batch.label[left], None, probability_margin)
            left, at, grad = _leave(adv, left, at, grad, logits.argmax(1) != batch.label[left])
            if not len(left):
                return adv
            size = threat.eps * (1 + cos(2 * pi * step / _ITERS % pi))
            at = threat.project(threat.move(at, grad, size), batch.x[left])
        wrong = net(at).argmax(1) != batch.label[left]
        left, at, _ = _leave(adv, left, at, at, wrong)
    return adv


def _leave(
    adv: Images, left: Tensor, at: Images, grad: Images, wrong: Tensor
) -> tuple[Tensor, Images, Images]:
    """Keeps the adversaries that are wrong; returns the positions, points and gradients left."""
    adv[left[wrong]] = at[wrong]
    return left[~wrong], at[~wrong], grad[~wrong]


def pma_alone(net: nn.Module, batch: Batch, eps: float) -> Images:
    """Its adversaries in linf."""
    with torch.no_grad():
        return probability_margin_attack(net, batch, Threat("linf", eps))
