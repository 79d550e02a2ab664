"""The parameters of a Foolbox attack: which one, and its settings. Source: Rauber et al. 2020."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from fdbench.errors import BadValue
from fdbench.specs.parameters import Parameters, parameter


@dataclass(frozen=True)
class FoolboxParameters(Parameters):
    """The attack's name in Foolbox and its settings, which only that attack can check."""

    summary: ClassVar[str] = (
        "Any of Foolbox's attacks, judged and recorded like ours (Rauber et al. 2020)."
    )

    name: str | None = parameter(None, "")
    settings: Mapping[str, Any] | None = parameter(None, "")

    def __post_init__(self) -> None:
        if not self.name:
            raise BadValue('foolbox needs the name of an attack: name = "L2DeepFoolAttack".')

    @property
    def marks(self) -> tuple[str, ...]:
        """The settings; the name is the reading's."""
        return tuple(f"{name}={value}" for name, value in (self.settings or {}).items())

    @property
    def variant(self) -> tuple[str, ...]:
        """The attack's name."""
        return (str(self.name),)
