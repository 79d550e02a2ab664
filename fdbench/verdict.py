"""Checks adversarial images against the threat and classifies them in float32 (contract C4).

The only source of verdicts: no attack's own claim of success counts, and NaN always fails.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from fdbench.errors import FdbenchError, SanityFailed
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels, Logits, Values
from fdbench.units import print_size

# float32 leaves x + (adv - x) up to 6e-8 off; other packages' attacks up to 1e-6 (AutoAttack, FAB).
ROUNDING = 1e-6


class IllegalAdversary(SanityFailed):
    """An attack returned something outside its threat model; none of it was recorded."""


def limit(threat: Threat) -> float:
    """The largest distance that passes: eps plus ROUNDING, relative to eps above 1."""
    return threat.eps + ROUNDING * max(1.0, threat.eps)


def check(adv: Tensor, x: Images, threat: Threat) -> None:
    """Checks that `adv` is within threat.eps of `x` and in [0, 1].

    Raises IllegalAdversary, with the distance or values, if it is not.
    """
    if adv.shape != x.shape:
        raise IllegalAdversary(f"the attack returned {tuple(adv.shape)} for {tuple(x.shape)}.")
    low, high = adv.min().item(), adv.max().item()
    if not (low >= 0 and high <= 1):
        raise IllegalAdversary(
            f"the attack returned values from {low:.6g} to {high:.6g}; images lie in [0, 1].\n"
            "NaN comes from a network whose gradient is not finite."
        )
    moved = threat.distance(adv, x).max().item()
    if not moved <= limit(threat):
        raise IllegalAdversary(
            f"the attack moved an image by {print_size(moved, threat.norm)} in {threat.norm}, "
            f"limit {print_size(threat.eps, threat.norm)}."
        )


def deciding(logits: Logits) -> Values:
    """The size of the logits that decide on each image: the larger of its two highest, by value.

    At least the batch's median, since rounding does not shrink where two logits happen to be small.
    A huge logit of a class that is never predicted, -1e9 as a mask writes it, has no part in it.
    """
    top = logits.topk(min(2, logits.shape[1]), 1).values.abs().amax(1)
    return torch.maximum(top, top.nanmedian())


def relative_difference(got: Float32[Tensor, "A C"], wanted: Float32[Tensor, "B D"]) -> float:
    """The largest difference of two computations of the same logits.

    Relative to those that decide on the image, or to the logit itself if that is larger. Infinite
    for other shapes and where only one is finite.
    """
    if got.shape != wanted.shape:
        return float("inf")
    if wanted.numel() == 0:
        return 0.0
    size = torch.maximum(deciding(wanted)[:, None], wanted.abs()).clamp(min=1e-12)
    off = torch.where(got == wanted, 0.0, (got - wanted).abs() / size)
    return float(off.nan_to_num(nan=float("inf")).max())


@torch.no_grad()
def logits_of(net: nn.Module, x: Images, most: int | None = None) -> Logits:
    """The logits of each image, `most` of them at a time.

    Raises FdbenchError if a logit is not finite.
    """
    logits = torch.cat([net(part) for part in torch.split(x, most or len(x))])
    if not torch.isfinite(logits).all():
        raise FdbenchError("the network's logits are not finite on legal images: is it trained?")
    return logits


def predict(net: nn.Module, x: Images, most: int | None = None) -> Labels:
    """The class of each image, `most` of them at a time.

    Raises FdbenchError if a logit is not finite.
    """
    return logits_of(net, x, most).argmax(1)


@dataclass(frozen=True)
class Referee:
    """Judges adversarial versions of some of a batch's images, given by `index` into the batch."""

    net: nn.Module
    batch: Batch
    threat: Threat
    most: int | None = None  # images a forward pass

    def logits(self, adv: Images, index: Labels) -> Logits:
        """The float32 network's logits. Raises IllegalAdversary for images outside the threat."""
        check(adv, self.batch.x[index], self.threat)
        return logits_of(self.net, adv, self.most)

    def __call__(self, adv: Images, index: Labels) -> Labels:
        return self.logits(adv, index).argmax(1)
