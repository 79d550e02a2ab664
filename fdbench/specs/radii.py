"""Parameters of attacks that take several radii in one run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fdbench.errors import BadValue
from fdbench.specs.parameters import Parameters, ThreatAndGoal, parameter
from fdbench.units import check_size


@dataclass(frozen=True)
class RadiiParameters(Parameters):
    """The radii that one run attacks at, each recorded as a run of its own."""

    # In ascending order; the spec's eps is one of them. None: the spec's eps alone.
    radii: tuple[float, ...] | None = parameter(None, "")

    def __post_init__(self) -> None:
        self.check_least()
        if self.radii is not None:
            object.__setattr__(self, "radii", tuple(map(float, self.radii)))

    def check(self, spec: ThreatAndGoal) -> None:
        """Also raises BadValue for radii that are unordered, or that the spec's is not one of."""
        super().check(spec)
        if self.radii is None:
            return
        for radius in self.radii:
            check_size(radius, spec.norm)
        if spec.eps not in self.radii or list(self.radii) != sorted(set(self.radii)):
            given = ", ".join(f"{radius:g}" for radius in self.radii)
            raise BadValue(f"radii are different, ascending and with eps {spec.eps:g}: {given}.")

    @property
    def alone(self) -> "RadiiParameters":
        """The parameters of the same attack at one radius."""
        return replace(self, radii=None)

    def at(self, radii: Sequence[float]) -> "RadiiParameters":
        """Returns the parameters for an attack at several radii in one run."""
        return replace(self, radii=tuple(radii))

    @property
    def marks(self) -> tuple[str, ...]:
        """As for every attack, with the number of radii; each has a run of its own."""
        named = [mark for mark in super().marks if not mark.startswith("radii ")]
        return (*named, *([f"{len(self.radii)} radii"] if self.radii else []))
