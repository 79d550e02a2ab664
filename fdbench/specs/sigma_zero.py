"""The parameters of sigma-zero."""

from dataclasses import dataclass
from typing import ClassVar

from fdbench.specs.parameters import parameter
from fdbench.specs.radii import RadiiParameters


@dataclass(frozen=True)
class SigmaZeroParameters(RadiiParameters):
    """How long it searches; its other settings are its authors' (attacks/sigma_zero.py)."""

    summary: ClassVar[str] = (
        "sigma-zero: searches for the fewest values whose change fools a network (l0; Cina et al. "
        "2025)."
    )
    norms: ClassVar[tuple[str, ...]] = ("l0",)
    goals: ClassVar[tuple[str, ...]] = ("untargeted",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "reference", "bf16")

    iters: int = parameter(1000, "Iterations.", least=1)

    @property
    def variant(self) -> tuple[str, ...]:
        """`1000`."""
        return (str(self.iters),)
