"""A run read at one budget: on which images the network is right.

The only module of the report that knows the columns of a run. Free of torch.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Shaped

from fdbench.reporting.attack_columns import budgets_asked
from fdbench.store import Columns, Run, Values

Images = Bool[np.ndarray, " images"]
Places = Int[np.ndarray, "..."]
Ids = Shaped[np.ndarray, "..."]

WORST = "worst case"  # an image counts only if it survives every attack of the run


def right_when_clean(columns: Columns) -> Images:
    """Whether the network is right on each clean image."""
    return columns.clean == columns.label


def _readings(columns: Columns, budget: str) -> Iterable[Values]:
    """The predictions at a budget; at WORST, those under every attack."""
    if budget == WORST:
        return columns.pred.values()
    return [columns.pred[budget]] if budget in columns.pred else []


def right(columns: Columns, budget: str) -> Images:
    """Whether the class predicted at a budget is the image's label; False without a prediction."""
    survived = judged(columns, [] if budget == WORST else [budget])
    for one in _readings(columns, budget):
        survived[one.at] &= one.values == columns.label[one.at]
    return survived


def hit(columns: Columns, budget: str) -> Images:
    """Whether the class predicted at a budget is the attacker's target."""
    count, target = len(columns), columns.target
    wanted, targeted = np.zeros(count, np.int64), np.zeros(count, bool)
    wanted[target.at], targeted[target.at] = target.values, target.known
    found = np.zeros(count, bool)
    for one in _readings(columns, budget):
        found[one.at] |= targeted[one.at] & (one.values == wanted[one.at])
    return found


def predictions(columns: Columns, budget: str, places: Places | Sequence[int]) -> tuple[int, ...]:
    """The classes predicted at a budget, or under an attacker, for the images at `places`."""
    one = columns.pred[budget]
    predicted = np.zeros(len(columns), np.int64)
    predicted[one.at] = one.values
    return tuple(predicted[places].tolist())


def judged(columns: Columns, budgets: Iterable[str]) -> Images:
    """The images that have a prediction at every one of the budgets."""
    every = np.ones(len(columns), bool)
    for budget in budgets:
        every &= columns.pred[budget].given(len(every)) if budget in columns.pred else False
    return every


def budgets_of_first(columns: Columns) -> list[str]:
    """The budgets at which the first image has a prediction."""
    if not len(columns):
        return []
    return [budget for budget, one in columns.pred.items() if one.given(len(columns))[0]]


def broken_by(columns: Columns) -> Counter[str | None]:
    """How many images each of AutoAttack's stages broke, None for none; without other attacks'."""
    stage = columns.broken_by
    codes, counts = np.unique(stage.values[stage.known], return_counts=True)
    broken: Counter[str | None] = Counter()
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        broken[columns.breakers[code]] = count
    if unbroken := int((~stage.known).sum()):
        broken[None] = unbroken
    return broken


def clean_answers(columns: Columns) -> list[tuple[int, int, int]]:
    """Each true class with each class predicted for its clean images, and for how many."""
    pairs = np.stack([columns.label.astype(np.int64), columns.clean.astype(np.int64)], axis=1)
    seen, counts = np.unique(pairs, axis=0, return_counts=True)
    return [(*pair, n) for pair, n in zip(seen.tolist(), counts.tolist(), strict=True)]


def places_of(wanted: Ids, ids: Ids) -> Places:
    """Where in `ids` each of the wanted ids is; -1 for those that are not."""
    if wanted is ids:
        return np.arange(len(ids))
    return pd.Index(ids, dtype=ids.dtype).get_indexer(pd.Index(wanted, dtype=wanted.dtype))


def differing_answers(several: Sequence[Columns]) -> tuple[int, int]:
    """On how many clean images a network's runs do not all answer the same, and of how many."""
    tables = list({id(columns.images): columns.images for columns in several}.values())
    codes, every = pd.factorize(np.concatenate(tables))
    parts = np.split(codes, np.cumsum([len(ids) for ids in tables])[:-1])
    places = {id(ids): part for ids, part in zip(tables, parts, strict=True)}
    answer, known = np.zeros(len(every), np.int64), np.zeros(len(every), bool)
    differ = np.zeros(len(every), bool)
    for columns in several:
        here = places[id(columns.images)]
        differ[here] |= known[here] & (answer[here] != columns.clean)
        answer[here], known[here] = columns.clean, True
    return int(differ.sum()), len(every)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """On which of a run's images the network is right; those not `judged` do not count."""

    ids: Ids
    judged: Images
    right: Images

    @property
    def total(self) -> int:
        """On how many images it is right."""
        return int((self.right & self.judged).sum())

    def beside(
        self, other: "Verdicts"
    ) -> tuple[Shaped[np.ndarray, " n"], Shaped[np.ndarray, " n"]]:
        """Where each of the two is right, on the images that both have."""
        if self.ids is other.ids:
            both = self.judged & other.judged
            return self.right[both], other.right[both]
        there = places_of(self.ids, other.ids)
        here = np.flatnonzero(self.judged & (there >= 0))
        here = here[other.judged[there[here]]]
        return self.right[here], other.right[there[here]]


_DIGITS = 9  # of a count of iterations: it fits every integer type


def _counts(budget: str) -> bool:
    """Whether a budget is a count of iterations, and not an attack's name."""
    return budget.isascii() and budget.isdecimal() and len(budget) <= _DIGITS


@dataclass(frozen=True, eq=False)
class RunAtBudget:
    """One run read at one budget: a count of iterations, an attack's name, or the worst case.

    Its images are those judged at the budget; at WORST, under every attack.
    """

    run: Run
    budget: str
    judged: Images

    @cached_property
    def n(self) -> int:
        """How many images it has."""
        return int(self.judged.sum())

    @property
    def iters(self) -> int | None:
        """The budget, where it counts iterations."""
        return int(self.budget) if _counts(self.budget) else None

    @cached_property  # every comparison of the run reads it
    def verdicts(self) -> Verdicts:
        """Whether the network is right on each image at the budget."""
        columns = self.run.columns
        return Verdicts(columns.images, self.judged, right(columns, self.budget))

    @property
    def clean_verdicts(self) -> Verdicts:
        """Whether the network is right on each clean image."""
        columns = self.run.columns
        return Verdicts(columns.images, self.judged, right_when_clean(columns))

    @property
    def hits(self) -> int:
        """How many images are classified as the attacker's target."""
        return int((hit(self.run.columns, self.budget) & self.judged).sum())

    @property
    def draws(self) -> tuple[float, int] | None:
        """Of a network that draws random numbers: on how many images it is right.

        On average over several passes, and in every one; None where no row records it.
        """
        count = self.run.info.found.get("network", {}).get("draws")
        columns = self.run.columns
        passes = columns.draws.get(self.budget)
        missing = self.judged if passes is None else self.judged & ~passes.given(len(columns))
        if not count or missing.any():
            return None
        right = [] if passes is None else passes.values[self.judged[passes.at]].tolist()
        return sum(right) / count, right.count(count)

    @property
    def always_right(self) -> int | None:
        """How many images have no misclassified iterate up to the budget, the last one included.

        None if the rows do not record single iterates.
        """
        columns, iters = self.run.columns, self.iters
        recorded = columns.first_wrong.given(len(columns)) & self.judged
        if iters is None or not recorded.any():
            return None
        never = np.ones(len(columns), bool)
        by_budget = columns.first_wrong_by.get(self.budget)
        for one in (columns.first_wrong, *([by_budget] if by_budget else [])):  # the finer one last
            never[one.at] = ~one.known | (one.values > iters)
        return int((never & right(columns, self.budget) & self.judged).sum())


def _order(budget: str) -> tuple[int, str]:
    return (int(budget), "") if _counts(budget) else (0, budget)


def at_budgets(run: Run) -> list[RunAtBudget]:
    """The run at each of its budgets, in order; without rows, at its planned budgets.

    Attacks that have no budget of iterations are followed by the worst case over all of them.
    """
    budgets: Sequence[str] = list(run.columns.pred) or budgets_asked(run.info.attack)
    budgets = sorted(budgets, key=_order)
    read = [RunAtBudget(run, budget, judged(run.columns, [budget])) for budget in budgets]
    if len(budgets) > 1 and not any(map(_counts, budgets)):
        read.append(RunAtBudget(run, WORST, judged(run.columns, budgets)))
    return read
