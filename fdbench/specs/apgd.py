"""The parameters of Auto-PGD and of the fast verdict, which is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from fdbench.errors import BadValue
from fdbench.specs.parameters import Parameters, ThreatAndGoal, parameter
from fdbench.units import check_size

# The stages of the fast verdict, in order; the second line is its guard.
UNTARGETED, TARGETED, NEAR = "untargeted", "targeted", "near"
IDENTITY, BLOCK_FREE, SQUARE, RAYS = GUARD = ("identity", "block-free", "square", "rays")


@dataclass(frozen=True)
class APGDParameters(Parameters):
    """How long, with which loss, from how many starts, towards how many wrong classes."""

    summary: ClassVar[str] = (
        "Auto-PGD: momentum, and a step that adapts to each image (Croce & Hein 2020)."
    )
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    goals: ClassVar[tuple[str, ...]] = ("untargeted",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "reference", "bf16")

    iters: int = parameter(100, "Iterations from each start.", least=1)
    restarts: int = parameter(1, "Random starts.", least=1)
    loss: str = parameter("ce", "Loss to maximise.", choices="losses")
    classes: int = parameter(
        0, "Wrong classes to aim at one by one, likeliest first; 0: away from the label.", least=0
    )
    eot: int = parameter(
        1, "Passes that gradients are averaged over, for random networks.", least=1
    )

    def __post_init__(self) -> None:
        self.check_least()

    @property
    def variant(self) -> tuple[str, ...]:
        """`ce-100x2`, `dlr-100-t9`."""
        restarts = f"x{self.restarts}" if self.restarts > 1 else ""
        aims = [f"t{self.classes}"] if self.classes else []
        return ("-".join([self.loss, f"{self.iters}{restarts}", *aims]),)


QUERIES = 300  # of the guard's search: about what the stages before it cost a robust image


@dataclass(frozen=True)
class FastParameters(Parameters):
    """The fast verdict: what it spends on each image (attacks/fast.py says on what)."""

    summary: ClassVar[str] = (
        "A quick verdict close to AutoAttack's: targeted Auto-PGD where it pays, and a guard "
        "against masked gradients."
    )
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    goals: ClassVar[tuple[str, ...]] = ("untargeted",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "reference", "bf16")

    classes: int = parameter(9, "Wrong classes to aim at, likeliest first.", least=1)
    queries: int = parameter(
        QUERIES, "Queries of the guard's search without gradients, not in l1; 0: none.", least=0
    )
    guard: bool = parameter(
        True,
        "Also try the images that are left with the identity as the gradient of operations that "
        "mask it, on a copy without denoising blocks, and without gradients.",
        flag="--guard/--no-guard",
    )
    eot: int = parameter(
        1, "Passes that gradients are averaged over, for random networks.", least=1
    )

    # Attacked in one run, in ascending order; the spec's eps is one of them.
    radii: tuple[float, ...] | None = parameter(None, "")

    def __post_init__(self) -> None:
        self.check_least()
        if self.radii is not None:
            object.__setattr__(self, "radii", tuple(map(float, self.radii)))
        if not self.guard and self.queries != QUERIES:
            raise BadValue("--queries belongs to the guard, which --no-guard leaves out.")

    def check(self, spec: ThreatAndGoal) -> None:
        """Also raises BadValue for a search that the norm has not."""
        super().check(spec)
        if self.radii is not None:
            self._check_radii(spec, self.radii)
        if spec.norm == "l1" and self.queries != QUERIES:
            raise BadValue("--queries is for linf and l2: Square does not search in l1.")

    @property
    def alone(self) -> "FastParameters":
        """The parameters of the same attack at one radius."""
        return replace(self, radii=None)

    def at(self, radii: Sequence[float]) -> "FastParameters":
        """Returns the parameters for an attack at several radii in one run."""
        return replace(self, radii=tuple(radii))

    def _check_radii(self, spec: ThreatAndGoal, radii: tuple[float, ...]) -> None:
        for radius in radii:
            check_size(radius, spec.norm)
        if spec.eps not in radii or list(radii) != sorted(set(radii)):
            given = ", ".join(f"{radius:g}" for radius in radii)
            raise BadValue(f"radii are different, ascending and with eps {spec.eps:g}: {given}.")

    @property
    def marks(self) -> tuple[str, ...]:
        """As for every attack, with the number of radii; each has a run of its own."""
        named = [mark for mark in super().marks if not mark.startswith("radii ")]
        return (*named, *([f"{len(self.radii)} radii"] if self.radii else []))

    @property
    def stages(self) -> tuple[str, ...]:
        """Its stages in the order in which they run, each on the images still robust."""
        return (UNTARGETED, TARGETED, NEAR, *(GUARD if self.guard else ()))
