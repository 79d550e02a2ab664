"""The logit loss (Zhao et al. 2021, "On Success and Simplicity", Eq. 3)."""

from torch import Tensor

from fdbench.types import Labels, Logits


def logit(logits: Logits, label: Labels, target: Labels | None) -> Tensor:
    """Returns the target's logit, or minus the label's: larger where the network is more wrong."""
    if target is None:
        return -logits.gather(1, label[:, None])[:, 0]
    return logits.gather(1, target[:, None])[:, 0]
