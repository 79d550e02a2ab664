"""Momentum on images with a randomly reweighted spectrum: the spectrum simulation attack.

Long et al. 2022, "Frequency Domain Model Augmentation for Adversarial Attack", Sec. 3.3: the
discrete cosine transform of the image plus noise, each coefficient multiplied by a number from
1 - rho to 1 + rho, transformed back. 20 copies, rho 0.5, noise of standard deviation eps.
"""

from functools import lru_cache

import torch
from jaxtyping import Float32
from torch import Tensor

from fdbench.attacks.transfer.draws import dense, dense_normal
from fdbench.attacks.transfer.ensemble import Task
from fdbench.attacks.transfer.method import LATER, MOMENTUM, Method
from fdbench.attacks.transfer.momentum import climb, count_passes, over_views
from fdbench.randomness import ImageId
from fdbench.types import Images


@lru_cache(maxsize=4)
def cosines(size: int) -> Float32[Tensor, "N N"]:
    """Returns the orthonormal DCT-II of length `size` as a matrix; its transpose inverts it."""
    place = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(torch.pi / size * (place + 0.5) * place[:, None]) * (2 / size) ** 0.5
    waves[0] /= 2**0.5
    return waves.float()


def reweighted(x: Images, mask: Images, jitter: Images) -> Images:
    """Multiplies each frequency of `x` + `jitter` by `mask`."""
    rows, columns = (cosines(size).to(x.device) for size in x.shape[2:])
    spectrum = rows @ (x + jitter) @ columns.mT
    return rows.mT @ (spectrum * mask) @ columns


def spectrum(task: Task) -> Images:
    """Follows the mean gradient over `copies` random spectra per step; `noise` is in eps."""
    objective = task.objective()
    ids: tuple[ImageId, ...] = task.ids

    def show(x: Images, stream: str) -> Images:
        mask = 1 + task.knobs["rho"] * (2 * dense(task.seed, f"spectrum-mask-{stream}", ids, x) - 1)
        jitter = dense_normal(task.seed, f"spectrum-noise-{stream}", ids, x)
        return reweighted(x, mask, task.knobs["noise"] * task.threat.eps * jitter)

    return climb(task.x, task.threat, task.knobs, over_views(objective, task.knobs["copies"], show))


SPECTRUM = Method(
    spectrum, count_passes, {**MOMENTUM, "copies": 20, "noise": 1.0, "rho": 0.5}, LATER
)
