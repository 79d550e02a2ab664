"""A run read at one budget: on which images the network is right.

The only module of the report that knows the names of a row's fields. Free of torch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from fdbench.randomness import ImageId
from fdbench.reporting.attack_columns import budgets_asked
from fdbench.store import Row, Run

Verdicts = dict[ImageId, bool]  # was the network right on this image?

WORST = "worst case"  # an image counts only if it survives every attack of the run


def image(row: Row) -> ImageId:
    """The id of the row's image."""
    return row["image"]


def label(row: Row) -> int:
    """The image's true class."""
    return row["label"]


def clean_prediction(row: Row) -> int:
    """The class predicted for the clean image."""
    return row["clean"]


def prediction(row: Row, budget: str) -> int:
    """The class predicted at a budget, or under an attacker."""
    return row["pred"][budget]


def right_when_clean(row: Row) -> bool:
    """Whether the network is right on the clean image."""
    return clean_prediction(row) == label(row)


def _predictions(row: Row, budget: str) -> Iterable[int]:
    """The class predicted at a budget; at WORST, those under every attack."""
    return row["pred"].values() if budget == WORST else [prediction(row, budget)]


def right(row: Row, budget: str) -> bool:
    """Whether the class predicted at a budget is the image's label."""
    return all(predicted == label(row) for predicted in _predictions(row, budget))


def hit(row: Row, budget: str) -> bool:
    """Whether the class predicted at a budget is the attacker's target."""
    return any(predicted == row["target"] for predicted in _predictions(row, budget))


def judged(rows: Iterable[Row], budgets: Sequence[str]) -> tuple[Row, ...]:
    """The rows that have a prediction at every one of the budgets."""
    return tuple(row for row in rows if all(budget in row["pred"] for budget in budgets))


def budgets_seen(rows: Iterable[Row]) -> list[str]:
    """Every budget at which any row has a prediction, in the order of first appearance."""
    return list(dict.fromkeys(budget for row in rows for budget in row["pred"]))


@dataclass(frozen=True)
class RunAtBudget:
    """One run read at one budget: a count of iterations, an attack's name, or the worst case."""

    run: Run
    budget: str
    rows: tuple[Row, ...]

    @property
    def iters(self) -> int | None:
        """The budget, where it counts iterations."""
        return int(self.budget) if self.budget.isdigit() else None

    @cached_property  # every comparison of the run reads it
    def verdicts(self) -> Verdicts:
        """Whether the network is right on each image at the budget."""
        return {image(row): right(row, self.budget) for row in self.rows}

    @property
    def clean_verdicts(self) -> Verdicts:
        """Whether the network is right on each clean image."""
        return {image(row): right_when_clean(row) for row in self.rows}

    @property
    def hits(self) -> int:
        """How many images are classified as the attacker's target."""
        return sum(hit(row, self.budget) for row in self.rows)

    @property
    def draws(self) -> tuple[float, int] | None:
        """Of a network that draws random numbers: on how many images it is right.

        On average over several passes, and in every one; None where no row records it.
        """
        count = self.run.info.found.get("network", {}).get("draws")
        right = [
            row["draws"][self.budget] for row in self.rows if self.budget in row.get("draws", {})
        ]
        if not count or len(right) < len(self.rows):
            return None
        return sum(right) / count, sum(one == count for one in right)

    @property
    def always_right(self) -> int | None:
        """How many images have no misclassified iterate up to the budget, the last one included.

        None if the rows do not record single iterates.
        """
        if self.iters is None or not any("first_wrong" in row for row in self.rows):
            return None
        return sum(self._never_wrong(row) for row in self.rows)

    def _never_wrong(self, row: Row) -> bool:
        first = row.get("first_wrong_by", {}).get(self.budget, row.get("first_wrong"))
        return right(row, self.budget) and (first is None or first > (self.iters or 0))


def _order(budget: str) -> tuple[int, str]:
    return (int(budget), "") if budget.isdigit() else (0, budget)


def at_budgets(run: Run) -> list[RunAtBudget]:
    """The run at each of its budgets, in order; without rows, at its planned budgets.

    Attacks that have no budget of iterations are followed by the worst case over all of them.
    """
    budgets = sorted(budgets_seen(run.rows) or budgets_asked(run.info.attack), key=_order)
    read = [RunAtBudget(run, budget, judged(run.rows, [budget])) for budget in budgets]
    if len(budgets) > 1 and not any(budget.isdigit() for budget in budgets):
        read.append(RunAtBudget(run, WORST, judged(run.rows, budgets)))
    return read
