"""What names can stand for on the command line. Free of torch until an attack or file is used."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fdbench import attacks, data
from fdbench.attacks import ATTACKS, LOSSES, parameters_of
from fdbench.errors import BadValue
from fdbench.models import denoise_choices
from fdbench.registry import Registry
from fdbench.specs import FoolboxParameters, Parameters, TransferParameters
from fdbench.threat import NORMS

_REGISTRIES: dict[str, Registry[Any]] = {"attacks": ATTACKS, "losses": LOSSES, "norms": NORMS}


def choices(kind: str) -> tuple[str, ...]:
    """All names of a registry: "attacks", "losses" or "norms"; or "denoisers"."""
    return denoise_choices() if kind == "denoisers" else _REGISTRIES[kind].names


def attack_summaries() -> dict[str, str]:
    """What each attack is, by its name."""
    kinds: dict[str, type[Parameters]] = {name: parameters_of(name) for name in ATTACKS}
    kinds |= {"transfer": TransferParameters}
    return {name: kind.summary for name, kind in kinds.items()}


def attack_parameters(name: str) -> type[Parameters]:
    """The parameters of an attack, of which its command makes options."""
    return parameters_of(name)


def data_kinds() -> list[dict[str, str]]:
    """How each kind of data set is typed, and what it is."""
    kinds = (data.DATA[name] for name in data.DATA)
    return [{"data": kind.form, "what": kind.summary} for kind in kinds]


def foolbox_list() -> list[dict[str, str]]:
    """Foolbox's attacks, with their norms and kinds."""
    return [
        {"attack": one.name, "norm": one.norm, "kind": one.kind}
        for one in attacks.foolbox_attacks()
    ]


def foolbox_parameters(
    name: str, pairs: Sequence[str], norm: str | None, targeted: bool
) -> tuple[str, FoolboxParameters]:
    """The norm and the parameters of one of Foolbox's attacks, from key=value pairs.

    Raises BadValue, naming what is allowed, where they don't fit.
    """
    known = attacks.foolbox_norm(name, norm)
    settings = attacks.check_foolbox(name, attacks.parse_foolbox_settings(pairs), known, targeted)
    return known, FoolboxParameters(name=name, settings=settings)


def targets_named(given: str) -> tuple[str, dict[int | str, int]]:
    """The kind of targets that was typed, and those of a file. Raises BadValue for neither."""
    if given in ("random", "least-likely"):
        return given, {}
    if not Path(given).is_file():
        raise BadValue(f"--targets {given!r} is neither random, least-likely, nor a CSV file.")
    return "file", attacks.from_file(Path(given))
