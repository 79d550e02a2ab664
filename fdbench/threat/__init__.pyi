from .catalogue import NORMS
from .l0 import L0
from .l1 import L1, onto_ball_in_box
from .l2 import L2
from .linf import LINF
from .norm import Norm
from .sizes import unusual, unusual_step
from .threat import Threat

__all__ = [
    "L0",
    "L1",
    "L2",
    "LINF",
    "NORMS",
    "Norm",
    "Threat",
    "onto_ball_in_box",
    "unusual",
    "unusual_step",
]
