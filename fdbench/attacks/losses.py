"""Losses that attacks maximise: one value per image, larger where the network is more wrong.

`target` is None for untargeted attacks. A targeted loss grows towards the target.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from fdbench.errors import BadValue
from fdbench.types import Labels, Logits, Values

Loss = Callable[[Logits, Labels, Labels | None], Values]


def _chosen(logits: Logits, classes: Labels) -> Values:
    return logits.gather(1, classes[:, None])[:, 0]


def _best_other(logits: Logits, classes: Labels) -> Values:
    return logits.scatter(1, classes[:, None], -torch.inf).amax(1)


def cross_entropy(logits: Logits, label: Labels, target: Labels | None) -> Values:
    """Madry et al. 2018; with a target, Xie et al. 2019, Sec. 6.1."""
    if target is None:
        return F.cross_entropy(logits, label, reduction="none")
    return -F.cross_entropy(logits, target, reduction="none")


def margin(logits: Logits, label: Labels, target: Labels | None) -> Values:
    """Carlini and Wagner 2017, Eq. 6 (f6), without its clipping at zero."""
    if target is None:
        return _best_other(logits, label) - _chosen(logits, label)
    return _chosen(logits, target) - _best_other(logits, target)


def probability_margin(logits: Logits, label: Labels, target: Labels | None) -> Values:
    """The margin of probabilities: a wrong class's above the label's.

    Its gradient fades where the network is sure, either way.
    """
    return margin(logits.softmax(1), label, target)


def dlr(logits: Logits, label: Labels, target: Labels | None) -> Values:
    """Difference of logits ratio: invariant to shift and scale (Croce and Hein 2020, Eq. 6, 7).

    Raises BadValue if there are too few classes for its denominator.
    """
    needed = 3 if target is None else 4
    if logits.shape[1] < needed:
        raise BadValue(
            f"--loss dlr needs {needed} classes, the network has {logits.shape[1]}.\n"
            "Use --loss ce or --loss margin."
        )
    top = logits.topk(needed, dim=1).values  # a thousand classes need no sorting
    if target is None:
        spread = top[:, 0] - top[:, 2]
        return (_best_other(logits, label) - _chosen(logits, label)) / (spread + 1e-12)
    spread = top[:, 0] - (top[:, 2] + top[:, 3]) / 2
    return (_chosen(logits, target) - _chosen(logits, label)) / (spread + 1e-12)
