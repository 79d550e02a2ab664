"""The parameters of AutoAttack: a version, or a list of its attacks (Croce and Hein 2020)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from fdbench.errors import BadValue, unknown
from fdbench.specs.parameters import Parameters, parameter

VERSIONS: dict[str, tuple[str, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),  # for randomised networks
    "custom": (),  # the user's own list
}
MEMBERS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")
EOT = 20  # version rand: passes over which gradients are averaged


@dataclass(frozen=True)
class AutoAttackParameters(Parameters):
    """Which attacks, in which order; None means not recorded."""

    summary: ClassVar[str] = (
        "AutoAttack: four attacks in turn, each on the images still robust (Croce & Hein 2020)."
    )
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    goals: ClassVar[tuple[str, ...]] = ("untargeted",)

    version: str | None = parameter(
        None,
        "Which set of attacks; rand is for randomised networks [default: standard].",
        choices=("standard", "plus", "rand"),
    )
    attacks: tuple[str, ...] | None = parameter(
        None, f"Your own list of attacks instead: {','.join(MEMBERS)}.", flag="--only"
    )
    eot: int | None = parameter(None, "")

    def __post_init__(self) -> None:
        version = self.version or "standard"
        if version not in VERSIONS:
            raise unknown("version of AutoAttack", str(version), VERSIONS)
        if version == "custom":
            self._check_own_list()
        elif self.attacks is not None:
            raise BadValue(
                f"AutoAttack {version} has its own attacks: {', '.join(VERSIONS[version])}.\n"
                "To choose attacks yourself, use version custom."
            )
        if self.eot is not None and version != "rand":
            raise BadValue(f"eot is for randomised networks: use version rand, not {version}.")
        if self.eot is not None and (type(self.eot) is not int or self.eot < 1):
            raise BadValue(f"eot must be a whole number, 1 or more, got {self.eot!r}.")

    @classmethod
    def typed(cls, **options: Any) -> "AutoAttackParameters":
        """A list of attacks makes the version custom; without either option it is standard."""
        version, attacks = options["version"], options["attacks"]
        if attacks and version:
            raise BadValue(f"--only replaces --version: leave out --version {version}.")
        return cls(version="custom" if attacks else version or "standard", attacks=attacks)

    def _check_own_list(self) -> None:
        if not isinstance(self.attacks, tuple) or not self.attacks:
            raise BadValue(
                f"AutoAttack custom needs a list of attacks, got {self.attacks!r}.\n"
                f"Allowed: {', '.join(MEMBERS)}."
            )
        for name in self.attacks:
            if name not in MEMBERS:
                raise unknown("attack of AutoAttack", str(name), MEMBERS)
        if len(set(self.attacks)) != len(self.attacks):
            raise BadValue(f"AutoAttack custom names an attack twice: {', '.join(self.attacks)}.")

    @property
    def stages(self) -> tuple[str, ...]:
        """Its attacks, in the order in which they run."""
        return self.attacks or VERSIONS[self.version or "standard"]

    @property
    def marks(self) -> tuple[str, ...]:
        """The version or the list of attacks, unless it is standard; the passes averaged."""
        version = self.version or "standard"
        own = {"standard": (), "custom": self.stages}.get(version, (version,))
        return (*own, *([] if self.eot in (None, EOT) else [f"eot {self.eot}"]))

    @property
    def title(self) -> str:
        """The version, or its attacks if they are the user's own."""
        return ", ".join(self.stages) if self.version == "custom" else " ".join(self.variant)

    @property
    def variant(self) -> tuple[str, ...]:
        """The version, if it is recorded."""
        return () if self.version is None else (self.version,)
