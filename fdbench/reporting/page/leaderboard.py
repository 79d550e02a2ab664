"""Leaderboards of the page: for each threat its networks, from the worst case down to each attack.

`best known` is the headline's worst case: over every run of the network under the threat, image by
image. An average over attacks has no place here.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from fdbench.reporting.cells import NONE, column
from fdbench.reporting.document import Cells, Column, Part
from fdbench.reporting.outcomes import RunAtBudget, at_budgets
from fdbench.reporting.page.trials import Trial, run_label
from fdbench.reporting.scoring import percent
from fdbench.store import Run

BEST = "best known"


def _score(count: int, n: int) -> str:
    """`40.0 [30.9, 49.8]`."""
    score = percent("", count, n)
    if not n:
        return NONE
    return f"{score['']:.1f} [{score['_low']:.1f}, {score['_high']:.1f}]"


def _deepest(run: Run) -> RunAtBudget:
    """The run at its largest budget; under all of its attackers, where it has several."""
    return at_budgets(run)[-1]


def _of_runs(trial: Trial) -> dict[str, str]:
    """The score of each run by its label; of several with one label the lowest."""
    lowest: dict[str, RunAtBudget] = {}
    for run in dict.fromkeys(one.run for one in trial.attempts):
        read, label = _deepest(run), run_label(run)
        known = lowest.get(label)
        if read.n and (known is None or read.verdicts.total / read.n < _share(known)):
            lowest[label] = read
    return {label: _score(one.verdicts.total, one.n) for label, one in lowest.items()}


def _share(one: RunAtBudget) -> float:
    return one.verdicts.total / one.n


def _board(trials: Sequence[Trial]) -> Cells:
    scores = [_of_runs(one) for one in trials]
    labels = list(dict.fromkeys(label for one in trials for label in _labels(one)))
    strongest = [one.strongest for one in trials]
    several = len({one.model for one in trials}) < len(trials)
    best = [(one, _score(int(one.survived.sum()), len(one.ids))) for one in trials]
    ordered = sorted(
        range(len(trials)), key=lambda i: -int(trials[i].survived.sum()) / len(trials[i].ids)
    )
    columns = [
        column("model", [one.model for one in trials]),
        *([column("weights", [one.weights for one in trials])] if several else []),
        column("n", [str(len(one.ids)) for one in trials]),
        column("clean", [_score(int(one.clean_right.sum()), len(one.ids)) for one in trials]),
        column(BEST, [text for _, text in best]),
        Column("set by", tuple(found[0] if found else NONE for found in strongest), "words"),
        *(column(label, [one.get(label, NONE) for one in scores]) for label in labels),
    ]
    return Cells(
        tuple(
            Column(one.heading, tuple(one.texts[i] for i in ordered), one.holds) for one in columns
        )
    )


def _labels(trial: Trial) -> Iterator[str]:
    """The labels of its runs, in the order of its attempts."""
    return (run_label(one.run) for one in trial.attempts)


def leaderboards(trials: Sequence[Trial]) -> list[Part]:
    """A table for each threat, the most robust network first."""
    return [
        Part("headline", setting.title, _board(list(of_threat)), setting=setting)
        for setting, of_threat in groupby(trials, key=lambda one: one.setting)
    ]
