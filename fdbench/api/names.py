"""Names allowed on the command line. Free of torch until an attack or file is used."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fdbench import attacks, data
from fdbench.attacks import ATTACKS, LOSSES, parameters_of
from fdbench.errors import BadValue
from fdbench.models import OFFERED, denoise_choices
from fdbench.registry import Registry
from fdbench.specs import FoolboxParameters, Parameters, TransferParameters
from fdbench.threat import NORMS

_REGISTRIES: dict[str, Registry[Any]] = {
    "attacks": ATTACKS,
    "losses": LOSSES,
    "models": OFFERED,
    "norms": NORMS,
}


def choices(kind: str) -> tuple[str, ...]:
    """Returns all "attacks", "losses", "norms", "denoisers", or other packages' "models"."""
    return denoise_choices() if kind == "denoisers" else _REGISTRIES[kind].names


def attack_summaries() -> dict[str, str]:
    """Returns a summary of each attack, by its name."""
    kinds: dict[str, type[Parameters]] = {name: parameters_of(name) for name in ATTACKS}
    kinds |= {"transfer": TransferParameters}
    return {name: kind.summary for name, kind in kinds.items()}


def attack_parameters(name: str) -> type[Parameters]:
    """Returns the parameters of an attack, from which its command generates options."""
    return parameters_of(name)


def data_kinds() -> list[dict[str, str]]:
    """Returns how to type each kind of data set, and what it is."""
    kinds = (data.DATA[name] for name in data.DATA)
    return [{"data": kind.form, "what": kind.summary} for kind in kinds]


def foolbox_list() -> list[dict[str, str]]:
    """Returns Foolbox's attacks, with their norms and kinds."""
    return [
        {"attack": one.name, "norm": one.norm, "kind": one.kind}
        for one in attacks.foolbox_attacks()
    ]


def foolbox_parameters(
    name: str, pairs: Sequence[str], norm: str | None, targeted: bool
) -> tuple[str, FoolboxParameters]:
    """Returns the norm and the parameters of one of Foolbox's attacks, from key=value pairs.

    Raises BadValue, naming the allowed values, for invalid ones.
    """
    chosen = attacks.foolbox_norm(name, norm)
    settings = attacks.check_foolbox(name, attacks.parse_foolbox_settings(pairs), chosen, targeted)
    return chosen, FoolboxParameters(name=name, settings=settings)


def targets_named(given: str) -> tuple[str, dict[int | str, int]]:
    """Returns the kind of targets, and those of a file. Raises BadValue for neither."""
    if given in ("random", "least-likely"):
        return given, {}
    if not Path(given).is_file():
        raise BadValue(f"--targets {given!r} is neither random, least-likely, nor a CSV file.")
    return "file", attacks.from_file(Path(given))
