"""Foolbox's attacks in our loop (Rauber et al. 2017, 2020): what there is, and a run of one."""

from fdbench.attacks.foolbox.catalogue import (
    LEFT_OUT,
    FoolboxAttack,
    Knob,
    catalogue,
    check,
    norm_of,
    parse_settings,
)
from fdbench.attacks.foolbox.run import count_steps, run_foolbox

__all__ = [
    "LEFT_OUT",
    "FoolboxAttack",
    "Knob",
    "catalogue",
    "check",
    "count_steps",
    "norm_of",
    "parse_settings",
    "run_foolbox",
]
