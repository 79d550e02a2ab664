"""The parameters of Auto-PGD and of the fast verdict, which is made of it."""

from dataclasses import dataclass
from typing import ClassVar

from fdbench.errors import BadValue
from fdbench.specs.parameters import Parameters, parameter
from fdbench.specs.radii import RadiiParameters

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
class FastParameters(RadiiParameters):
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
        QUERIES, "Queries of the guard's search without gradients; 0: none.", least=0
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.guard and self.queries != QUERIES:
            raise BadValue("--queries belongs to the guard, which --no-guard leaves out.")

    @property
    def stages(self) -> tuple[str, ...]:
        """Its stages in the order in which they run, each on the images still robust."""
        return (UNTARGETED, TARGETED, NEAR, *(GUARD if self.guard else ()))
