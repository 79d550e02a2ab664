"""Momentum on randomly shrunk and shifted images: DI-MI-FGSM, and with a `kernel` DI-TI-MI-FGSM.

Xie et al. 2019, "Improving Transferability of Adversarial Examples with Input Diversity", Sec. 3.3:
with probability 0.5 the image is resized and padded, 299 px to between 299 and 330 in 330 px. Here
the frame keeps its size and the image shrinks in it, by up to `shrink`: equivalent for a network
that resizes its input.
"""

import torch

from fdbench.attacks.transfer.draws import few
from fdbench.attacks.transfer.ensemble import Task
from fdbench.attacks.transfer.method import LATER, LONG, MOMENTUM, Method
from fdbench.attacks.transfer.momentum import climb, count_passes, over_views
from fdbench.attacks.transfer.warp import affine, identity
from fdbench.randomness import ImageId
from fdbench.specs import Knobs
from fdbench.types import Images


def shrunk(x: Images, knobs: Knobs, seed: int, stream: str, ids: tuple[ImageId, ...]) -> Images:
    """Shrinks `x` to a random size at a random place in its frame, or returns it unchanged."""
    chance, size, right, down = few(seed, stream, ids, 4, x).unbind(1)
    zoom = 1 / (1 - knobs["shrink"] * size)  # a position in the frame is `zoom` times as far in x
    zoom = torch.where(chance < knobs["probability"], zoom, 1.0)
    matrix = identity(x) * zoom[:, None, None]
    matrix[:, 0, 2] = (zoom - 1) * (2 * right - 1)
    matrix[:, 1, 2] = (zoom - 1) * (2 * down - 1)
    return affine(x, matrix)


def diverse(task: Task) -> Images:
    """Follows the mean gradient over `copies` random views per step (1 in the paper)."""
    objective = task.objective()

    def show(x: Images, stream: str) -> Images:
        return shrunk(x, task.knobs, task.seed, f"diverse-{stream}", task.ids)

    return climb(task.x, task.threat, task.knobs, over_views(objective, task.knobs["copies"], show))


DIVERSE = Method(
    diverse, count_passes, {**MOMENTUM, "copies": 1, "probability": 0.5, "shrink": 0.1}, LATER, LONG
)
