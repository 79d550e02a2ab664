"""Foolbox's attacks in our loop (Rauber et al. 2017, 2020): what there is, and a run of one."""

from fdbench.attacks.foolbox.catalogue import (
    LEFT_OUT,
    FoolboxAttack,
    Knob,
    check_foolbox,
    foolbox_attacks,
    foolbox_norm,
    parse_foolbox_settings,
)
from fdbench.attacks.foolbox.run import count_steps, run_foolbox

__all__ = [
    "LEFT_OUT",
    "FoolboxAttack",
    "Knob",
    "check_foolbox",
    "count_steps",
    "foolbox_attacks",
    "foolbox_norm",
    "parse_foolbox_settings",
    "run_foolbox",
]
