"""Auto-PGD as AutoAttack runs it, with images that leave at their first wrong iterate.

Source: Croce and Hein 2020. Starts are drawn as the package draws them, from torch's global
generator for all the images that a run begins with, so that one image's leaving changes no other's
start. The iterates are the package's, up to rounding.
"""

import torch

from fdbench.attacks.ascent import JudgeAt, climb, judged_among
from fdbench.attacks.losses import cross_entropy, dlr
from fdbench.threat import Threat
from fdbench.types import Images, Labels, Net

NORMS = ("linf", "l2")
LOSSES = {"apgd-ce": cross_entropy, "apgd-dlr": dlr, "apgd-t": dlr}


def _start(x: Images, threat: Threat) -> Images:
    """A random direction for each image, drawn to the surface of the ball."""
    if threat.norm == "linf":  # the package draws on the CPU too
        way = 2 * torch.rand(x.shape).to(x.device) - 1
    else:
        way = torch.randn(x.shape).to(x.device)
    return (x + threat.eps * way / (threat.geometry.length(way)[:, None, None, None])).clamp(0, 1)


@torch.no_grad()
def auto_pgd(
    net: Net,
    x: Images,
    label: Labels,
    threat: Threat,
    *,
    attack: str,
    iters: int,
    restarts: int,
    targets: int,
    judge: JudgeAt,
) -> Images:
    """Returns each image's first wrong iterate, or the image where it does not break.

    Draws from torch's global generator.

    Args:
        net: the attacked network; images that it gets wrong are returned unchanged.
        threat: in linf or l2.
        attack: a key of LOSSES; "apgd-t" aims at one wrong class after another.
        iters: steps of a run.
        restarts: runs towards a class.
        targets: wrong classes, likeliest first; 1 for an untargeted attack.
        judge: has the last word on an iterate that `net` finds wrong.
    """
    logits, adv = net(x), x.clone()
    order = logits.argsort(1, descending=True)
    left = (logits.argmax(1) == label).nonzero()[:, 0]
    for rank in range(1, targets + 1):
        for _ in range(restarts):
            if not len(left):
                return adv
            result = climb(
                net, x[left], label[left], threat, start=_start(x[left], threat), iters=iters,
                loss=LOSSES[attack], target=order[left, rank] if attack == "apgd-t" else None,
                judge=judged_among(judge, left),
            )  # fmt: skip
            adv[left[result.broken]] = result.adv[result.broken]
            left = left[~result.broken]
    return adv
