from .apgd import (
    IDENTITY,
    NEAR,
    SQUARE,
    TARGETED,
    UNTARGETED,
    APGDParameters,
    FastParameters,
)
from .attack import (
    PARAMETERS,
    SAVE,
    TARGETS,
    AttackerSpec,
    AttackSpec,
    Knobs,
    default_eps,
    default_targeted,
    targeted_caveat,
)
from .autoattack import EOT, MEMBERS, VERSIONS, AutoAttackParameters
from .foolbox import FoolboxParameters
from .model import ARCHS, BLOCKS, BOTTLENECK, NO_DENOISER, ORDERS, PLACES, Arch, ModelSpec
from .parameters import Parameters, RecordedParameters, ThreatAndGoal, parameter
from .parsing import check_of, parsed
from .pgd import PGDParameters
from .plain import bytes_digest, digest, pick, strict
from .recipes import (
    Battery,
    Published,
    attacker_battery,
    batteries,
    battery,
    model_recipe,
    recipe_files,
)
from .stated import RANGES, Stated, numbers, split
from .training import SMALL, TrainSpec
from .transfer import TransferParameters

__all__ = [
    "ARCHS",
    "BLOCKS",
    "BOTTLENECK",
    "EOT",
    "IDENTITY",
    "MEMBERS",
    "NEAR",
    "NO_DENOISER",
    "ORDERS",
    "PARAMETERS",
    "PLACES",
    "RANGES",
    "SAVE",
    "SMALL",
    "SQUARE",
    "TARGETED",
    "TARGETS",
    "UNTARGETED",
    "VERSIONS",
    "APGDParameters",
    "Arch",
    "AttackSpec",
    "AttackerSpec",
    "AutoAttackParameters",
    "Battery",
    "FastParameters",
    "FoolboxParameters",
    "Knobs",
    "ModelSpec",
    "PGDParameters",
    "Parameters",
    "Published",
    "RecordedParameters",
    "Stated",
    "ThreatAndGoal",
    "TrainSpec",
    "TransferParameters",
    "attacker_battery",
    "batteries",
    "battery",
    "bytes_digest",
    "check_of",
    "default_eps",
    "default_targeted",
    "digest",
    "model_recipe",
    "numbers",
    "parameter",
    "parsed",
    "pick",
    "recipe_files",
    "split",
    "strict",
    "targeted_caveat",
]
