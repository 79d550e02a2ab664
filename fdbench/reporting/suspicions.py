"""Implausible numbers of a run, and the warnings under a report. Free of torch."""

from collections.abc import Sequence
from itertools import pairwise

from fdbench.reporting.outcomes import Verdicts, at_budgets
from fdbench.reporting.scoring import paired_verdicts
from fdbench.store import Run

SUSPICIOUS = 0.01  # p below which a rise of accuracy is no longer noise


def _gain(after: Verdicts, before: Verdicts) -> float | None:
    """The points by which accuracy rises from `before` to `after`, if that is more than noise."""
    both = paired_verdicts(after, before)
    return 100 * both.difference if both.difference > 0 and both.p < SUSPICIOUS else None


def suspicions(run: Run) -> list[str]:
    """Where accuracy rises: with more iterations, or from clean to adversarial images."""
    texts = []
    read = at_budgets(run)
    for one, two in pairwise(one for one in read if one.iters):
        if gain := _gain(two.verdicts, one.verdicts):
            texts.append(
                f"robust accuracy rises by {gain:.1f} points from {one.budget} to {two.budget} "
                "iterations: the attack is not converging; try another --alpha or --loss"
            )
    for one in read:
        if gain := _gain(one.verdicts, one.clean_verdicts):
            texts.append(
                f"robust accuracy ({one.budget}) is {gain:.1f} points above clean accuracy: "
                "the attack helps the network; is its gradient right?"
            )
    return texts


def warnings(runs: Sequence[Run]) -> list[str]:
    """Each warning and each suspicion of the runs once, with the models it is about."""
    about: dict[str, list[str]] = {}
    for run in runs:
        for text in [*run.info.warnings, *suspicions(run)]:
            about.setdefault(text, []).append(run.info.model.name)
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in about.items()]
