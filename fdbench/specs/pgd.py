"""The parameters of PGD. Source: Madry et al. 2018; Xie et al. 2019, Sec. 6.1 and released code."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from fdbench.errors import BadValue
from fdbench.specs.parameters import Parameters, ThreatAndGoal, parameter
from fdbench.units import print_size

# Parameters added after the first runs: left out of a run's identity at their defaults, so that
# older runs keep their names.
_LATER = {"stop_early": False, "eot": 1}


@dataclass(frozen=True)
class PGDParameters(Parameters):
    """PGD's parameters; `alpha` is in image units, None for the automatic step size."""

    summary: ClassVar[str] = "White-box PGD, read at every budget of --iters (paper, Sec. 6.1)."
    label: ClassVar[str] = "PGD"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16", "auto", "reference")

    iters: tuple[int, ...] = parameter(
        (100,), "Iteration budgets; those with the same step size share one trajectory."
    )
    alpha: float | None = parameter(
        None,
        "Step size like --eps; auto: max(1/255, eps/iters) targeted, eps/4 untargeted.",
        size=True,
    )
    restarts: int = parameter(1, "Random starts per image; the worst one counts.", least=1)
    loss: str = parameter("ce", "The loss to attack with.", choices="losses")
    random_start: bool = parameter(
        True, "Start at a random point of the ball.", flag="--random-start/--clean-start"
    )
    stop_early: bool = parameter(
        False, "Drop images at their first wrong iterate: faster, but measures only any iterate."
    )
    eot: int = parameter(1, "Average gradients over N passes, for randomised networks.", least=1)

    def __post_init__(self) -> None:
        if not self.iters or min(self.iters) < 1:
            raise BadValue(f"--iters must be 1 or more, got {list(self.iters)}.")
        if len(set(self.iters)) != len(self.iters):
            raise BadValue(f"--iters names a budget twice: {list(self.iters)}.")
        self.check_least()
        if self.restarts > 1 and not self.random_start:
            raise BadValue(
                "--restarts from the same clean start repeat themselves: use --random-start."
            )

    def check(self, spec: ThreatAndGoal) -> None:
        """Also raises BadValue for a targeted attack that stops early."""
        super().check(spec)
        if self.stop_early and spec.targeted:
            raise BadValue("--stop-early needs --untargeted: a wrong class is not yet a hit.")

    def step(self, spec: ThreatAndGoal, iters: int) -> float:
        """The step size of a trajectory of `iters` iterations.

        Targeted: max(1/255, eps / iters), so PGD-10 at 16/255 steps 1.6/255 and longer runs 1/255
        (Xie et al. 2019, released code). Untargeted: eps / 4, 2/255 at the usual 8/255 (Madry et
        al. 2018, CIFAR-10). l2 has no pixel: eps / 4 in both.
        """
        if self.alpha is not None:
            return self.alpha
        if spec.targeted and spec.norm == "linf":
            return max(1 / 255, spec.eps / iters)
        return spec.eps / 4

    @property
    def plain(self) -> dict[str, Any]:
        """All parameters; iters in ascending order."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**values, "iters": sorted(self.iters)}

    @property
    def identity(self) -> dict[str, Any]:
        """All parameters, except later additions at their defaults."""
        return {k: v for k, v in self.plain.items() if k not in _LATER or v != _LATER[k]}

    @property
    def variant(self) -> tuple[str, ...]:
        """`10-100x3`: budgets and restarts; then `early` if it stops early."""
        budgets = "-".join(str(i) for i in sorted(self.iters))
        restarts = f"x{self.restarts}" if self.restarts > 1 else ""
        return (budgets + restarts, *(["early"] if self.stop_early else []))

    @property
    def marks(self) -> tuple[str, ...]:
        """`eot 20`, `clean start`; the other parameters have columns."""
        eot = [f"eot {self.eot}"] if self.eot > 1 else []
        return (*eot, *([] if self.random_start else ["clean start"]))

    @property
    def title(self) -> str:
        """`10, 100`."""
        return ", ".join(str(i) for i in self.iters)

    @property
    def budgets(self) -> tuple[int, ...]:
        """The iteration counts at which it is evaluated."""
        return self.iters

    @property
    def only_any_iterate(self) -> bool:
        """With stop_early: a dropped image has no last iterate."""
        return self.stop_early

    def columns(self, spec: ThreatAndGoal, budget: int | None) -> dict[str, Any]:
        """Loss, restarts, and the step size with the rule it comes from."""
        if budget is None:
            return {"loss": None, "restarts": self.restarts, "alpha": None, "alpha_rule": None}
        return {
            "loss": self.loss,
            "restarts": self.restarts,
            "alpha": print_size(self.step(spec, budget), spec.norm),
            "alpha_rule": "auto" if self.alpha is None else "fixed",
        }
