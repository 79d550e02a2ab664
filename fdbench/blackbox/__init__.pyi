from .attackers import Attacker, Known, Made, by_folder, by_method, by_submission, open_ensemble
from .make import Aim, SetPlan, known_targets, make_set, set_info

__all__ = [
    "Aim",
    "Attacker",
    "Known",
    "Made",
    "SetPlan",
    "by_folder",
    "by_method",
    "by_submission",
    "known_targets",
    "make_set",
    "open_ensemble",
    "set_info",
]
