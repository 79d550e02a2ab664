"""Momentum on the mean gradient of a wide neighbourhood: MEF, maximin expected flatness.

Qiu et al. 2024, "Boosting Adversarial Transferability with Low-Cost Optimization via Maximin
Expected Flatness" (arXiv 2405.16181), as the authors' released code and the TransferAttack
benchmark compute it: 20 iterations of eps / 10 with mu 0.5, 20 neighbours uniform within 2 eps,
each moved by xi * eps along a direction that it keeps from step to step, inner mu 0.9. xi is 0.15,
the benchmark's, whose figure attacks/transfer-modern.toml cites; the released code has 0.2.
"""

import torch

from fdbench.attacks.transfer.draws import dense
from fdbench.attacks.transfer.ensemble import Task
from fdbench.attacks.transfer.method import LATER, MOMENTUM, Method
from fdbench.attacks.transfer.momentum import climb, unit
from fdbench.specs import Knobs
from fdbench.types import Images


def count_passes(knobs: Knobs, nets: int) -> int:
    """Counts passes: the neighbours, without the image itself, in each iteration, on each net."""
    passes: int = knobs["iters"] * knobs["neighbours"] * nets
    return passes


def mef(task: Task) -> Images:
    """Follows the mean gradient at `neighbours` points; keeps one direction, an image, for each.

    A neighbour's direction is its unit gradient minus `inner_mu` times the direction before: the
    last gradient and, alternating in sign, those before it. It is 0 in the first step.
    """
    objective, knobs = task.objective(), task.knobs
    radius, xi = knobs["radius"] * task.threat.eps, knobs["xi"] * task.threat.eps
    directions = [torch.zeros_like(task.x)] * knobs["neighbours"]

    def gradient(where: Images, step: int) -> Images:
        total = torch.zeros_like(where)
        for k, direction in enumerate(directions):
            offset = 2 * dense(task.seed, f"mef-{step}-{k}", task.ids, where) - 1
            grad = objective.gradient(where + radius * offset + xi * direction)
            directions[k] = unit(grad) - knobs["inner_mu"] * direction
            total += grad
        return total / len(directions)

    return climb(task.x, task.threat, knobs, gradient)


MEF = Method(
    mef,
    count_passes,
    {
        **MOMENTUM,
        "iters": 20,
        "mu": 0.5,
        "neighbours": 20,
        "radius": 2.0,
        "xi": 0.15,
        "inner_mu": 0.9,
    },
    LATER,
    {"step": 0.1},
    l2=False,  # a cube of neighbours; nothing is published for a ball
)
