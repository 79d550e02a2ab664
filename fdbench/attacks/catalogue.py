"""Every attack and every loss by name. Free of torch."""

from fdbench import attacks
from fdbench.registry import Registry
from fdbench.specs import PARAMETERS, AttackSpec, Parameters, RecordedParameters
from fdbench.units import check_size

# `transfer` is not listed: it replays a set that must be opened first (attacks/replay.py).
ATTACKS: Registry["attacks.Attack"] = Registry(
    kind="attack",
    group="fdbench.attacks",
    built_in={
        "pgd": lambda: attacks.PGD(),
        "fast": lambda: attacks.Fast(),
        "apgd": lambda: attacks.APGD(),
        "autoattack": lambda: attacks.AutoAttack(),
        "sigma-zero": lambda: attacks.SigmaZero(),
        "foolbox": lambda: attacks.Foolbox(),
    },
    fits=lambda offered: isinstance(offered, attacks.Attack),
    wanted="an instance of fdbench.attacks.Attack",
    hint="`fdbench list attacks` shows all.",
)

LOSSES: Registry["attacks.Loss"] = Registry(
    kind="loss",
    group="fdbench.losses",
    built_in={
        "ce": lambda: attacks.cross_entropy,
        "margin": lambda: attacks.margin,
        "dlr": lambda: attacks.dlr,
        "pm": lambda: attacks.probability_margin,
    },
    fits=callable,
    wanted="a function (logits, label, target or None) -> (B,) values",
)


def parameters_of(attack: str) -> type[Parameters]:
    """Returns the parameter class of an attack; for built-in ones without importing torch.

    Raises BadValue for an unknown attack.
    """
    ATTACKS.check(attack)
    return PARAMETERS[attack] if attack in PARAMETERS else ATTACKS[attack].parameters


def checked(spec: AttackSpec) -> AttackSpec:
    """Returns `spec` with its attack's parameter class, if a battery or run held plain data.

    Raises BadValue for an unknown attack or parameter, and a size that nobody means in its norm.
    """
    check_size(spec.eps, spec.norm)
    if not isinstance(spec.parameters, RecordedParameters):
        spec.parameters.check_sizes(spec.norm)
        return spec
    kind = parameters_of(spec.attack)
    parameters = kind.of(spec.parameters.plain, f"the parameters of {spec.attack}")
    parameters.check_sizes(spec.norm)
    return AttackSpec(spec.attack, spec.norm, spec.eps, spec.targeted, spec.targets, parameters)
