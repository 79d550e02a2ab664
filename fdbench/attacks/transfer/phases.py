"""FGSM with step sizes that fall in phases; gradients are taken after noise and a random warp.

After Sangxia, second of the non-targeted track of NIPS 2017; steps, noise and repeats as in the
team's released code. Deviations: networks take turns in pairs, in the order given, where the team
chose them by hand, and the warp is about the middle of the image, not its corner.
"""

import torch

from fdbench.attacks.transfer.draws import dense_normal, few
from fdbench.attacks.transfer.ensemble import Task
from fdbench.attacks.transfer.method import Method
from fdbench.attacks.transfer.momentum import with_stream
from fdbench.attacks.transfer.warp import affine, identity
from fdbench.randomness import ImageId
from fdbench.specs import Knobs
from fdbench.types import Images

# (step in eps, noise in units of the knob) of each of the 19 steps.
_PLAN: tuple[tuple[float, float], ...] = (
    *[(1.0, 1.0)] * 2,
    *[(0.5, 1.0)] * 7,
    *[(0.2, 0.5)] * 2,
    *[(0.1, 0.5)] * 2,
    *[(0.1, 0.2)] * 6,
)
# Standard normal distribution function at -2: numbers beyond two deviations are not drawn, as in
# TensorFlow's truncated_normal.
_TAIL = 0.02275013194817921


def count_passes(knobs: Knobs, nets: int) -> int:
    """Counts `repeats` passes per step on two networks, or on the only one."""
    passes: int = len(_PLAN) * min(2, nets) * knobs["repeats"]
    return passes


def warped(x: Images, scale: float, seed: int, stream: str, ids: tuple[ImageId, ...]) -> Images:
    """Warps `x` by a random affine map: the identity plus truncated normal noise times `scale`."""
    unit = few(seed, stream, ids, 6, x)
    normal = torch.special.ndtri(_TAIL + unit * (1 - 2 * _TAIL)).view(-1, 2, 3)
    return affine(x, identity(x) + scale * normal)


def phases(task: Task) -> Images:
    """Follows the sign of two networks' summed gradients, taken at noisy, warped images."""
    x, ids, nets = task.x, task.ids, len(task.ensemble.nets)
    objective = task.objective()

    def show(at: Images, stream: str) -> Images:
        return warped(at, task.knobs["warp"], task.seed, f"phases-warp-{stream}", ids)

    adv = x
    for step, (size, noise) in enumerate(_PLAN):
        spread = task.knobs["noise"] * noise * task.threat.eps
        jitter = dense_normal(task.seed, f"phases-noise-{step}", ids, x)
        adv = task.threat.project(adv + spread * jitter, x)
        total = torch.zeros_like(x)
        for index in {step % nets, (step + 1) % nets}:
            for repeat in range(task.knobs["repeats"]):
                view = with_stream(show, f"{step}-{index}-{repeat}")
                total += objective.gradient_of(index, adv, view)
        adv = task.threat.project(task.threat.move(adv, total, size * task.threat.eps), x)
    return adv


PHASES = Method(phases, count_passes, {"noise": 0.2, "warp": 0.02, "repeats": 2}, l2=False)
