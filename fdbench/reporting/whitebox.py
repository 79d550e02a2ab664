"""White-box scores: one line for each network, attack and budget.

`robust` is the final iterate's accuracy, the paper's reading; `any_iterate` counts an image only if
every iterate up to the budget is classified right. Free of torch.
"""

from collections.abc import Sequence

from pandas import DataFrame

from fdbench.reporting import suspicions
from fdbench.reporting.attack_columns import ATTACK, is_plain_pgd
from fdbench.reporting.indicators import flagged
from fdbench.reporting.outcomes import RunAtBudget, at_budgets
from fdbench.reporting.scoring import (
    Line,
    Scores,
    conditions,
    less_published,
    note,
    percent,
    published,
    rounded,
    same_threat,
    scored,
)
from fdbench.reporting.setting import in_order
from fdbench.specs import Published
from fdbench.store import Run

_MEASURES = ("clean", "robust", "any_iterate", "success")
_COUNTS = ("iters", "n", "planned", "restarts", "seed")
_DRAWS = ("mean_of_draws", "worst_of_draws")  # of a network that draws random numbers
_PUBLISHED = ("published_clean", "published", "published_success", "difference")
WHITEBOX = (
    *("model", "weights", "knowledge", "data", "split", "n", "planned", "norm", "eps", "targeted"),
    *(*ATTACK, "precision", "seed"),
    *(*scored(_MEASURES), *_DRAWS, *_PUBLISHED, "indicators", "note", "warnings"),
    "run",
)


def _measured(one: RunAtBudget) -> Scores:
    n, targeted = one.n, one.run.info.attack.targeted
    return {
        **percent("clean", one.clean_verdicts.total, n),
        **percent("robust", one.verdicts.total, n),
        **percent("any_iterate", one.always_right, n),
        **percent("success", one.hits if targeted else None, n),
        **_draws(one, n),
    }


def _draws(one: RunAtBudget, n: int) -> Scores:
    if one.draws is None or not n:
        return dict.fromkeys(_DRAWS)
    return {name: rounded(right / n) for name, right in zip(_DRAWS, one.draws, strict=True)}


def _same_attack(row: Published, one: RunAtBudget) -> bool:
    """Whether the published attack is this one: plain PGD, same iterations, same threat."""
    spec, iters = one.run.info.attack, one.iters
    return (
        row.attack == "pgd"
        and iters is not None
        and iters == row.iters
        and is_plain_pgd(spec, iters)
        and same_threat(row, spec)
    )


def _published(one: RunAtBudget, robust: float | None) -> Scores:
    rows = published(one.run.info)
    clean = next((row.accuracy for row in rows if row.iters == 0), None)
    same = next((row for row in rows if row.iters and _same_attack(row, one)), None)
    return {
        "published_clean": clean,
        "published": same.accuracy if same else None,
        "published_success": same.success if same else None,
        "difference": less_published(robust, same.accuracy if same else None),
    }


def _newest(runs: Sequence[Run]) -> dict[tuple[str, str], str]:
    """The weights of the run started last, for each model name and data set."""
    ordered = sorted(runs, key=lambda run: run.info.started)
    return {(run.info.model.name, run.info.data.name): run.info.model.weights for run in ordered}


def _line(one: RunAtBudget, newest: dict[tuple[str, str], str]) -> Line:
    info, measured = one.run.info, _measured(one)
    warnings = suspicions.of_run(one.run)
    older = newest[info.model.name, info.data.name] != info.model.weights
    return {
        **conditions(one),
        **measured,
        **_published(one, measured["robust"]),
        "indicators": flagged(one),
        "note": note(one.n, info, bool(warnings), older),
        "warnings": "; ".join(warnings),
        "run": one.run.name,
    }


def whitebox(runs: Sequence[Run]) -> DataFrame:
    """One line per (model, data, attack, budget), in the columns WHITEBOX.

    Identical lines, from runs that share a budget, appear once.
    """
    newest = _newest(runs)
    lines = [_line(one, newest) for run in runs for one in at_budgets(run)]
    table = DataFrame(lines, columns=list(WHITEBOX))
    for column in _COUNTS:
        table[column] = table[column].astype("Int64")
    numbers = [*scored(_MEASURES), *_DRAWS, *_PUBLISHED]
    table[numbers] = table[numbers].astype(float)
    keys = ["data", "split", "norm", "eps", "targeted", "model", "note", "weights", "iters"]
    unique = table.drop_duplicates([name for name in WHITEBOX if name != "run"])
    return in_order(unique, [*keys, "attack", "run"])
