"""The attacks of the installed Foolbox, and checks of their settings, norms and goals.

Names, norms, goals and knobs are read from the package's classes and their annotations; the tables
below hold only what is missing there.
"""

import inspect
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fdbench.errors import BadValue, unknown

# Attacks that don't attack one network within a ball, each with the reason.
LEFT_OUT = {
    "SpatialAttack": "rotates and shifts images, which no norm measures",
    "DatasetAttack": "looks for its images in a data set that it must be fed first",
    "BinarizationRefinementAttack": "is only for networks that binarise their input",
}
# A family compiled by numba: offered where the extra is installed.
_NEED_NUMBA = "BrendelBethgeAttack"
_P = {math.inf: "linf", 2: "l2", 1: "l1", 0: "l0"}  # Foolbox's p of a distance
# Attacks that declare no distance. This one resets values one by one (Schott et al. 2019).
_UNDECLARED_NORMS = {"PointwiseAttack": ("l0",)}
# Their annotations allow targets, their code refuses them.
_UNTARGETED = ("L1FastGradientAttack", "L2FastGradientAttack", "LinfFastGradientAttack")
# Set by the threat and the images.
_OURS = ("constraint", "channel_axis")
# Read only if an attack starts away from the clean image, which these don't by default.
_UNUSED = {f"{norm}FMNAttack": "binary_search_steps" for norm in ("L0", "L1", "L2", "LInf")}
# What users may pass to --set, and the option that sets it.
_FLAGS = {
    **dict.fromkeys(("eps", "epsilon", "epsilons"), "--eps"),
    **dict.fromkeys(("norm", "distance", "constraint"), "--norm"),
    **dict.fromkeys(("targeted", "criterion"), "--targeted or --untargeted"),
}
_LEAST = {"candidates": 2}  # whole numbers are 1 or more; DeepFool compares at least two classes
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number from 0 on",
    NoneType: "null",
}


@dataclass(frozen=True)
class Knob:
    """A setting of an attack that plain data can express."""

    default: Any  # None if Foolbox chooses it, or has no default
    kinds: tuple[type, ...]
    choices: tuple[str, ...]  # the allowed texts, if it takes text
    needed: bool  # Foolbox has no default

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        return " or ".join([*self.choices, *(_WORDS[kind] for kind in self.kinds)])


@dataclass(frozen=True)
class FoolboxAttack:
    """One attack class of the installed Foolbox."""

    name: str
    norms: tuple[str, ...]  # several: the user chooses one
    kind: str  # "at eps", or "smallest": minimises the perturbation, clipped at eps
    goals: tuple[str, ...]  # "untargeted", "targeted"
    knobs: Mapping[str, Knob]

    @property
    def norm(self) -> str:
        """The norms as one text, for tables."""
        return ", ".join(self.norms)


def package() -> Any:
    """Imports Foolbox, which is slow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a SciPy name that it imports
        import foolbox

    return foolbox


def _leaves(hint: Any) -> tuple[Any, ...]:
    """Returns the types and texts that make up a union or a literal."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) is Union:
        return tuple(leaf for part in get_args(hint) for leaf in _leaves(part))
    return (hint,)


def _norms(cls: type[Any], hints: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the norms an attack supports; Foolbox declares them in one of three places."""
    if cls.__name__ in _UNDECLARED_NORMS:
        return _UNDECLARED_NORMS[cls.__name__]
    if "distance" in hints:
        return tuple(_P.values())
    if "constraint" in hints:
        return tuple(norm for norm in _P.values() if norm in _leaves(hints["constraint"]))
    return (_P[object.__new__(cls).distance.p],)


def _knobs(cls: type[Any], hints: Mapping[str, Any]) -> dict[str, Knob]:
    skipped = (*_OURS, _UNUSED.get(cls.__name__))
    knobs = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        leaves = _leaves(hints[name])
        if name in skipped or not all(leaf in _WORDS or isinstance(leaf, str) for leaf in leaves):
            continue
        needed = parameter.default is inspect.Parameter.empty
        knobs[name] = Knob(
            None if needed else parameter.default,
            kinds=tuple(leaf for leaf in leaves if leaf in _WORDS),
            choices=tuple(leaf for leaf in leaves if isinstance(leaf, str)),
            needed=needed,
        )
    return knobs


def _goals(cls: type[Any]) -> tuple[str, ...]:
    """Returns the goals that match the criteria accepted by an attack's `run`."""
    criteria = package().criteria
    accepted = _leaves(get_type_hints(cls.run)["criterion"])
    any_at_all = criteria.Criterion in accepted
    possible = {
        "untargeted": any_at_all or criteria.Misclassification in accepted,
        "targeted": (any_at_all or criteria.TargetedMisclassification in accepted)
        and cls.__name__ not in _UNTARGETED,
    }
    return tuple(goal for goal in possible if possible[goal])


def _described(cls: type[Any]) -> FoolboxAttack:
    hints = get_type_hints(cls.__init__)
    at_eps = issubclass(cls, package().attacks.base.FixedEpsilonAttack)
    return FoolboxAttack(
        cls.__name__,
        _norms(cls, hints),
        "at eps" if at_eps else "smallest",
        _goals(cls),
        _knobs(cls, hints),
    )


@cache
def foolbox_attacks() -> tuple[FoolboxAttack, ...]:
    """Returns every attack of the installed Foolbox that runs within a ball, by name.

    Excludes LEFT_OUT and, if numba is not installed, the attacks compiled by it.
    """
    attacks = package().attacks
    compiled = attacks.brendel_bethge.NUMBA_IMPORT_ERROR is None
    classes = {
        cls.__name__: cls
        for cls in vars(attacks).values()
        if inspect.isclass(cls) and issubclass(cls, attacks.Attack) and not inspect.isabstract(cls)
    }
    return tuple(
        _described(classes[name])
        for name in sorted(classes)
        if name not in LEFT_OUT and (compiled or not name.endswith(_NEED_NUMBA))
    )


def named(name: str) -> FoolboxAttack:
    """Returns the attack of that name. Raises BadValue for unknown and Foolbox's short names."""
    table = {attack.name: attack for attack in foolbox_attacks()}
    if name in table:
        return table[name]
    if name in LEFT_OUT:
        raise BadValue(f"Foolbox's {name} can't be run: it {LEFT_OUT[name]}.")
    hint = "`fdbench list attacks` shows them with their norms."
    long = getattr(getattr(package().attacks, name, None), "__name__", None)
    if long in table:
        hint = f"{name} is short for {long}."
    elif name.endswith(_NEED_NUMBA):
        hint = "That family needs Numba: pip install 'fdbench[numba]'"
    raise unknown("Foolbox attack", name, table, hint)


def foolbox_norm(name: str, norm: str | None = None) -> str:
    """Returns the given norm, or the attack's only one.

    Raises BadValue for a norm the attack does not support, or if it supports several.
    """
    attack = named(name)
    if norm is None and len(attack.norms) == 1:
        return attack.norms[0]
    if norm is None:
        raise BadValue(f"{name} works in {attack.norm}: give one as --norm.")
    if norm not in attack.norms:
        raise BadValue(f"{name} does not work in {norm}: give --norm {' or '.join(attack.norms)}.")
    return norm


def parse_foolbox_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Parses `--set key=value` into plain data: a JSON scalar, else text.

    Raises BadValue for a missing `=` or a repeated key.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise BadValue(f"--set {pair!r} is not key=value, as in --set steps=100.")
        if key in settings:
            raise BadValue(f"--set {key} was given twice.")
        settings[key] = _scalar(text)
    return settings


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, list | dict) else value


def check_foolbox(
    name: str, settings: Mapping[str, Any], norm: str, targeted: bool | None = None
) -> dict[str, Any]:
    """Returns the settings as a run stores them: each of its knob's type, sorted by name.

    Raises BadValue, naming what is allowed, if attack, knobs, norm and goal don't fit each other.
    """
    attack = named(name)
    foolbox_norm(name, norm)
    goal = "targeted" if targeted else "untargeted"
    if targeted is not None and goal not in attack.goals:
        raise BadValue(f"{name} can't be {goal}: give --{attack.goals[0]}.")
    for key, knob in attack.knobs.items():
        if knob.needed and key not in settings:
            raise BadValue(f"{name} has no default for {key}: give --set {key}=VALUE.")
    return {key: _fitting(attack, key, settings[key]) for key in sorted(settings)}


def _fitting(attack: FoolboxAttack, key: str, value: Any) -> Any:
    """Returns `value` in the knob's type: an int may become a float, nothing else converts."""
    if key not in attack.knobs:
        if key in _FLAGS:
            raise BadValue(f"{key} is not set by --set: give {_FLAGS[key]}.")
        hint = "" if attack.knobs else f"{attack.name} has no knobs."
        raise unknown(f"knob of {attack.name}", key, attack.knobs, hint)
    knob = attack.knobs[key]
    if type(value) is int and float in knob.kinds and int not in knob.kinds:
        value = float(value)
    least = _LEAST.get(key, 1) if type(value) is int else 0
    out_of_range = type(value) in (int, float) and not least <= value < math.inf
    if out_of_range or not (type(value) in knob.kinds or value in knob.choices):
        least_of = f" from {_LEAST.get(key, 1)} on" if int in knob.kinds else ""
        raise BadValue(f"{key} can't be {value!r}. Allowed: {knob.allowed}{least_of}.")
    return value
