"""Making a set: batch -> attacker -> whole pixels -> verify -> shard and line.

The victim has no part in it: what an attacker is given are the images, its surrogates, and in a
targeted set the classes to reach.
"""

from fdbench.makeset.attackers import (
    Attacker,
    Known,
    Made,
    Tick,
    by_folder,
    by_method,
    by_submission,
    open_ensemble,
)
from fdbench.makeset.loop import Aim, Plan, known_targets, make, set_info

__all__ = [
    "Aim",
    "Attacker",
    "Known",
    "Made",
    "Plan",
    "Tick",
    "by_folder",
    "by_method",
    "by_submission",
    "known_targets",
    "make",
    "open_ensemble",
    "set_info",
]
