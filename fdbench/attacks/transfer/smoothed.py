"""Iterative FGSM in which each network's gradient is smoothed before its sign is taken.

After toshi_k, fifth of the non-targeted track of NIPS 2017, released code: 15 iterations, 7 x 7
kernel that ends two standard deviations from its middle, the networks' steps averaged. The step,
0.4 eps at their eps of 16/255, is scaled with eps here.
"""

import torch

from fdbench.attacks.transfer.ensemble import Task
from fdbench.attacks.transfer.method import Method
from fdbench.attacks.transfer.momentum import count_passes
from fdbench.attacks.transfer.smoothing import smooth
from fdbench.types import Images

_REACH = 2.0  # standard deviations, as in their gkern(7, 2)


def smoothed(task: Task) -> Images:
    """Takes steps of `step` * eps, smaller at pixels whose sign the networks disagree on."""
    objective = task.objective()
    adv = task.x
    for _ in range(task.knobs["iters"]):
        total = torch.zeros_like(adv)
        for index, share in enumerate(task.ensemble.shares):
            grad = smooth(objective.gradient_of(index, adv), task.knobs["kernel"], _REACH)
            total += share * grad.sign()
        adv = task.threat.project(adv + task.knobs["step"] * task.threat.eps * total, task.x)
    return adv


SMOOTHED = Method(smoothed, count_passes, {"iters": 15, "step": 0.4, "kernel": 7}, l2=False)
