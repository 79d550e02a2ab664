from .apgd import APGD
from .autoattack.attack import AutoAttack, square_alone
from .catalogue import ATTACKS, LOSSES, checked, parameters_of
from .course import Course
from .fast import Fast
from .foolbox import Foolbox, check_foolbox, foolbox_attacks, foolbox_norm, parse_foolbox_settings
from .losses import Loss, cross_entropy, dlr, margin, probability_margin
from .pgd import PGD, Trajectory, gradient, last_iterate, random_start, trajectory
from .protocol import DRAWS, Attack, Draws, Judge, NoScratch, Reading, Scratch, Subject, Tick
from .replay import Replay
from .sigma_zero import SigmaZero
from .targets import choose_targets, draw_targets, from_file, given
from .transfer import (
    METHODS,
    Ensemble,
    Method,
    Objective,
    Painter,
    complete,
    count_passes,
    craft,
    load_painter,
)
from .way_back import identity_back, masking_operations

__all__ = [
    "APGD",
    "ATTACKS",
    "DRAWS",
    "LOSSES",
    "METHODS",
    "PGD",
    "Attack",
    "AutoAttack",
    "Course",
    "Draws",
    "Ensemble",
    "Fast",
    "Foolbox",
    "Judge",
    "Loss",
    "Method",
    "NoScratch",
    "Objective",
    "Painter",
    "Reading",
    "Replay",
    "Scratch",
    "SigmaZero",
    "Subject",
    "Tick",
    "Trajectory",
    "check_foolbox",
    "checked",
    "choose_targets",
    "complete",
    "count_passes",
    "craft",
    "cross_entropy",
    "dlr",
    "draw_targets",
    "foolbox_attacks",
    "foolbox_norm",
    "from_file",
    "given",
    "gradient",
    "identity_back",
    "last_iterate",
    "load_painter",
    "margin",
    "masking_operations",
    "parameters_of",
    "parse_foolbox_settings",
    "probability_margin",
    "random_start",
    "square_alone",
    "trajectory",
]
