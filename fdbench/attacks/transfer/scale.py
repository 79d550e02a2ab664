"""Nesterov momentum on darkened copies of the image: SI-NI-FGSM.

Lin et al. 2020, "Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks", Sec.
3: a network's loss on x / 2^i is close to its loss on x, so its gradients there act as those of
further networks, for free. m = 5 copies.
"""

from fdbench.attacks.transfer.ensemble import Task
from fdbench.attacks.transfer.method import LATER, MOMENTUM, Method
from fdbench.attacks.transfer.momentum import climb, count_passes, over_views
from fdbench.types import Images


def scale(task: Task) -> Images:
    """Follows the mean gradient at x, x/2, x/4 ...; draws no random numbers."""
    objective = task.objective()

    def show(x: Images, stream: str) -> Images:
        return x / 2 ** int(stream.split("-")[1])

    gradient = over_views(objective, task.knobs["copies"], show)
    return climb(task.x, task.threat, task.knobs, gradient, ahead=True)


SCALE = Method(scale, count_passes, {**MOMENTUM, "copies": 5}, LATER)
