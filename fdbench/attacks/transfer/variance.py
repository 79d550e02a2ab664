"""Momentum with gradients corrected by those in the last step's neighbourhood: VMI-FGSM.

Wang and He 2021, "Enhancing the Transferability of Adversarial Attacks through Variance Tuning",
Algorithm 1: 20 neighbours, uniform within 1.5 eps.
"""

import torch

from fdbench.attacks.transfer.draws import dense
from fdbench.attacks.transfer.ensemble import Task
from fdbench.attacks.transfer.method import LATER, MOMENTUM, Method
from fdbench.attacks.transfer.momentum import climb
from fdbench.specs import Knobs
from fdbench.types import Images


def count_passes(knobs: Knobs, nets: int) -> int:
    """Counts passes: the image and its neighbours in each iteration, on each network."""
    passes: int = knobs["iters"] * (1 + knobs["neighbours"]) * nets
    return passes


def variance(task: Task) -> Images:
    """Follows the gradient plus the last step's (mean gradient nearby - gradient)."""
    objective = task.objective()
    radius, count = task.knobs["radius"] * task.threat.eps, task.knobs["neighbours"]
    correction = torch.zeros_like(task.x)

    def gradient(where: Images, step: int) -> Images:
        nonlocal correction
        grad = objective.gradient(where)
        corrected = grad + correction
        nearby = torch.zeros_like(where)
        for k in range(count):
            offset = 2 * dense(task.seed, f"variance-{step}-{k}", task.ids, where) - 1
            nearby += objective.gradient(where + radius * offset)
        correction = nearby / count - grad
        return corrected

    return climb(task.x, task.threat, task.knobs, gradient)


VARIANCE = Method(variance, count_passes, {**MOMENTUM, "neighbours": 20, "radius": 1.5}, LATER)
