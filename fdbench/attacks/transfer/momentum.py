"""Iterative sign steps with momentum: the loop that most transfer attacks share.

Dong et al. 2018, "Boosting Adversarial Attacks with Momentum", Algorithm 1 and 2: the winner of the
NIPS 2017 competition. Later methods differ in the gradient they follow, so the loop takes it as a
function.
"""

from collections.abc import Callable
from dataclasses import replace

import torch

from fdbench.attacks.transfer.ensemble import Objective, Task, View
from fdbench.attacks.transfer.method import LATER, LONG, Method
from fdbench.attacks.transfer.method import MOMENTUM as DEFAULTS
from fdbench.attacks.transfer.smoothing import smooth
from fdbench.specs import Knobs
from fdbench.threat import Threat
from fdbench.types import Images

Gradient = Callable[[Images, int], Images]  # (images, iteration) -> gradient
Shown = Callable[[Images, str], Images]  # (image, stream of random numbers) -> view, differentiable

_TINY = torch.finfo(torch.float32).tiny  # keeps 0 / 0 from becoming NaN; changes no other quotient


def unit(grad: Images) -> Images:
    """Divides each image's gradient by its mean absolute value (Dong's released code)."""
    return grad / grad.abs().mean((1, 2, 3), keepdim=True).clamp(min=_TINY)


def climb(
    x: Images, threat: Threat, knobs: Knobs, gradient: Gradient, *, ahead: bool = False
) -> Images:
    """Takes `iters` steps along the velocity mu * velocity + unit(gradient).

    A step is `alpha`, where that is 0 the share `step` of eps, and where that is 0 eps / iters.
    `ahead` takes the gradient at the point the velocity leads to (Lin et al. 2020, Nesterov).
    """
    share = knobs["step"] or 1 / knobs["iters"]
    alpha, mu = knobs["alpha"] or share * threat.eps, knobs["mu"]
    adv, velocity = x, torch.zeros_like(x)
    for step in range(knobs["iters"]):
        where = adv + alpha * mu * velocity if ahead else adv
        velocity = mu * velocity + unit(smooth(gradient(where, step), knobs["kernel"]))
        adv = threat.project(threat.move(adv, velocity, alpha), x)
    return adv


def with_stream(show: Shown, stream: str) -> View:
    """Returns the view that draws its random numbers from `stream`."""
    return lambda x: show(x, stream)


def over_views(objective: Objective, copies: int, show: Shown) -> Gradient:
    """Returns the mean gradient over `copies` random views, each with its own random stream."""

    def gradient(where: Images, step: int) -> Images:
        total = torch.zeros_like(where)
        for copy in range(copies):
            total += objective.gradient(where, with_stream(show, f"{step}-{copy}"))
        return total / copies

    return gradient


def count_passes(knobs: Knobs, nets: int) -> int:
    """Counts single-network forward and backward passes: iterations x views x networks."""
    passes: int = knobs["iters"] * knobs.get("copies", 1) * nets
    return passes


def momentum(task: Task) -> Images:
    """MI-FGSM on fused logits; draws no random numbers."""
    objective = task.objective()
    return climb(task.x, task.threat, task.knobs, lambda where, step: objective.gradient(where))


def ifgsm(task: Task) -> Images:
    """I-FGSM: the same without momentum (Kurakin et al. 2017)."""
    return momentum(replace(task, knobs={**task.knobs, "mu": 0.0, "kernel": 0}))


IFGSM = Method(ifgsm, count_passes, {"iters": 10}, LATER)
MOMENTUM = Method(momentum, count_passes, DEFAULTS, LATER, LONG)
