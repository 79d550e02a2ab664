"""Is this a legal adversarial image? Runs between every attack and every verdict (contract C4).

Never takes an attack's word, ours included. Written so that NaN fails.
"""

from torch import Tensor

from fdbench.errors import SanityFailed
from fdbench.threat import Threat
from fdbench.types import Images
from fdbench.units import print_size

# float32 leaves x + (adv - x) up to 6e-8 off; other packages' attacks up to 1e-6 (AutoAttack, FAB).
ROUNDING = 1e-6


class IllegalAdversary(SanityFailed):
    """An attack returned something outside its threat model; nothing of it was recorded."""


def limit(threat: Threat) -> float:
    """The largest distance that passes: eps and rounding, in proportion where eps is large."""
    return threat.eps + ROUNDING * max(1.0, threat.eps)


def check(adv: Tensor, x: Images, threat: Threat) -> None:
    """Passes if `adv` is `x` moved by at most threat.eps, within [0, 1].

    Raises IllegalAdversary naming by how much it is not.
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
