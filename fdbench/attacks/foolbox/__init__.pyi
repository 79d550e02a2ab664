from .catalogue import (
    LEFT_OUT,
    FoolboxAttack,
    Knob,
    check_foolbox,
    foolbox_attacks,
    foolbox_norm,
    parse_foolbox_settings,
)
from .run import Foolbox

__all__ = [
    "LEFT_OUT",
    "Foolbox",
    "FoolboxAttack",
    "Knob",
    "check_foolbox",
    "foolbox_attacks",
    "foolbox_norm",
    "parse_foolbox_settings",
]
