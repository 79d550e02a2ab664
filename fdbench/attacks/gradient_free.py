"""Square Attack alone, under a name that no module of this package has.

`square` is also a module here, and whichever was imported last is what the package's `square` is.
"""

from torch import nn

from fdbench.attacks.autoattack.attack import square
from fdbench.threat import Threat
from fdbench.types import Images, Labels


def square_alone(
    net: nn.Module, x: Images, label: Labels, threat: Threat, seed: int, queries: int
) -> Images:
    """Returns images attacked by the package's Square Attack, in linf, l2 or l1.

    Images that it could not break, or that were misclassified before, are returned unchanged.
    """
    return square(net, x, label, threat, seed, queries)
