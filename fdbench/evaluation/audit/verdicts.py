"""Check of recorded predictions: the network predicts again."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from fdbench.evaluation.audit.tally import Tally
from fdbench.models import RELATIVE
from fdbench.types import Images, Labels, Logits
from fdbench.verdict import deciding, relative_difference


def is_repeatable(net: nn.Module, x: Images) -> bool:
    """Returns whether two passes of the network give the same logits, up to rounding.

    A network that returns NaN counts as repeatable, so that its verdicts are checked, and fail.
    """
    one, two = net(x), net(x)
    return relative_difference(two.nan_to_num(), one.nan_to_num()) <= RELATIVE


def _compared(logits: Logits, recorded: Labels) -> tuple[Bool[Tensor, " B"], Bool[Tensor, " B"]]:
    """Returns which recorded predictions are wrong, and which differ only within rounding of a tie.

    Logits closer than two float32 computations of one network may differ (models.RELATIVE) are a
    tie: another batch size or machine may break it differently.
    """
    known = (recorded >= 0) & (recorded < logits.shape[1])
    logit = logits.gather(1, torch.where(known, recorded, 0)[:, None])[:, 0]
    finite = logits.isfinite().all(1)
    near = known & finite & (logits.amax(1) - logit <= RELATIVE * deciding(logits))
    differs = (logits.argmax(1) != recorded) | ~finite
    return differs & ~near, differs & near


class VerdictCheck:
    """Checks that the float32 network predicts what was recorded; a difference at a tie passes."""

    def __init__(self, check: str) -> None:
        self.tally = Tally(check, "verdicts")
        self._ties = 0

    def look(self, net: nn.Module, x: Images, names: Sequence[str], recorded: list[int]) -> None:
        """Compares the predictions with those recorded; faults identify images by `names`."""
        logits = net(x)
        wrong, tied = _compared(logits, torch.tensor(recorded, device=x.device))
        for name, then, now, bad in zip(
            names, recorded, logits.argmax(1).tolist(), wrong.tolist(), strict=True
        ):
            self.tally.add(not bad, f"{name}: recorded {then}, now {now}")
        self._ties += int(tied.sum())
        self.tally.notes = f" ({self._ties} within rounding of a tie)" if self._ties else ""
