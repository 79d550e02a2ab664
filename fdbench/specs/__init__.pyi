from .attack import SAVE, AttackerSpec, AttackSpec, default_eps, default_targeted
from .model import ARCHS, BLOCKS, DENOISERS, PLACES, Arch, ModelSpec
from .plain import digest, pick, strict
from .recipes import (
    Battery,
    Published,
    attacker_battery,
    batteries,
    battery,
    model_recipe,
    recipe_files,
)
from .training import SMALL, TrainSpec

__all__ = [
    "ARCHS",
    "BLOCKS",
    "DENOISERS",
    "PLACES",
    "SAVE",
    "SMALL",
    "Arch",
    "AttackSpec",
    "AttackerSpec",
    "Battery",
    "ModelSpec",
    "Published",
    "TrainSpec",
    "attacker_battery",
    "batteries",
    "battery",
    "default_eps",
    "default_targeted",
    "digest",
    "model_recipe",
    "pick",
    "recipe_files",
    "strict",
]
