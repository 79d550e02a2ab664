from .autoattack.attack import square
from .autoattack.cascade import parse_options
from .catalogue import ATTACKS, Entry
from .foolbox import check_foolbox, foolbox_attacks, foolbox_norm, parse_foolbox_settings
from .losses import LOSSES, loss_named
from .pgd import gradient, random_start, trajectory
from .protocol import Judge, Reading, Runner, Setting, Subject
from .targets import choose_targets, draw_targets, from_file, given
from .transfer import METHODS, complete, count_steps
from .transfer.craft import craft
from .transfer.ensemble import Ensemble, Objective
from .transfer.generator import Painter, load_painter

__all__ = [
    "ATTACKS",
    "LOSSES",
    "METHODS",
    "Ensemble",
    "Entry",
    "Judge",
    "Objective",
    "Painter",
    "Reading",
    "Runner",
    "Setting",
    "Subject",
    "check_foolbox",
    "choose_targets",
    "complete",
    "count_steps",
    "craft",
    "draw_targets",
    "foolbox_attacks",
    "foolbox_norm",
    "from_file",
    "given",
    "gradient",
    "load_painter",
    "loss_named",
    "parse_foolbox_settings",
    "parse_options",
    "random_start",
    "square",
    "trajectory",
]
