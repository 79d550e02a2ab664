"""Indicators of attack failure in a run's tables, from what the run recorded. Free of torch.

Source: Pintor et al. 2022, "Indicators of Attack Failure", Sec. 3. Of the six, a run has four from
its own passes; unstable predictions and unconstrained failure take others: `fdbench doctor`. Where
the paper averages over all images, these count those that stood, whose robustness is in doubt.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fdbench.reporting.outcomes import RunAtBudget
from fdbench.stats import exceeds

LEVEL = 0.01  # of the exact test that a share is above the indicator's rate


@dataclass(frozen=True)
class Indicator:
    """The largest share of images that a sound attack has, and what to do above it."""

    rate: float
    fix: str


INDICATORS: dict[str, Indicator] = {
    "unavailable gradients": Indicator(
        0.1,
        "gradients vanish: try --loss margin or dlr where logits are large, the identity in place "
        "of what rounds (fdbench attack fast), or Square",
    ),
    "silent success": Indicator(0.05, "quote any iterate (--stop-early), or try a smaller --alpha"),
    "incomplete optimisation": Indicator(0.2, "try more iterations, or fdbench attack apgd"),
    "transfer failure": Indicator(0.02, "attack the network itself: --reference"),
}


def _counts(one: RunAtBudget) -> Iterator[tuple[str, int, int]]:
    """Each indicator that a run has at a budget: its name, its images, and of how many."""
    always = one.always_right
    if always is not None:
        yield "silent success", one.verdicts.total - always, one.verdicts.total
    budgets = [int(name) for name in one.run.columns.pred if name.isdecimal()]
    if one.iters is not None and one.iters != max(budgets, default=None):
        return  # what follows is about the last iterate
    seen: Mapping[str, Any] = one.run.info.found.get("observed", {})
    yield "unavailable gradients", seen.get("zero_gradient", 0), seen.get("differentiated", 0)
    yield "incomplete optimisation", seen.get("incomplete", 0), seen.get("standing", 0)
    yield "transfer failure", seen.get("disputed", 0), seen.get("standing", 0)


def flagged(one: RunAtBudget) -> str:
    """The indicators that a run raises at a budget, each with its remedy; empty for none."""
    return "; ".join(
        f"{name} {count} of {n}: {INDICATORS[name].fix}"
        for name, count, n in _counts(one)
        if exceeds(count, n, INDICATORS[name].rate) < LEVEL
    )
