"""Shared by white-box and black-box scores: percentages with their intervals, published numbers
and notes.

Every number is a pure function of rows (contract C6): in percent of all the images that a line
counts, with a 95 % interval. Free of torch.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from fdbench.reporting.attack_columns import Value, attack_columns, same_size
from fdbench.reporting.outcomes import RunAtBudget
from fdbench.reporting.setting import WHITE_BOX, Setting
from fdbench.specs import AttackSpec, Published, model_recipe, recipe_files
from fdbench.stats import wilson
from fdbench.store import Run, RunInfo
from fdbench.units import parse_size

_T = TypeVar("_T")
_Key = TypeVar("_Key")
Scores = dict[str, float | None]  # a line's numbers by column
Line = dict[str, Value]  # a table's line by column: texts, counts and scores

ENDS = ("", "_low", "_high")  # of a score's three columns: itself and its interval


def scored(names: Iterable[str]) -> list[str]:
    """The columns of these scores, each with its interval."""
    return [f"{name}{end}" for name in names for end in ENDS]


def percent(name: str, count: int | None, n: int) -> Scores:
    """`count` of `n` in percent with its 95 % Wilson interval; empty where either is unknown."""
    if count is None or not n:
        return dict.fromkeys(scored([name]))
    low, high = wilson(count, n)
    return dict(
        zip(scored([name]), [round(100 * count / n, 4), rounded(low), rounded(high)], strict=True)
    )


def rounded(share: float) -> float:
    """A fraction in percent, to four decimals, as tables hold it."""
    return round(100 * share, 4)


def network(info: RunInfo) -> dict[str, str]:
    """The columns that name a line's network."""
    return {"model": info.model.name, "weights": info.model.weights[:8]}


def contestant(run: Run) -> tuple[bool, str, str]:
    """Sorts networks without a denoiser first: they are the baselines."""
    model = run.info.model
    return (model.spec or {}).get("denoise", "none") != "none", model.name, model.weights


def fullest(
    read: Iterable[_T], key: Callable[[_T], _Key], size: Callable[[_T], int]
) -> dict[_Key, _T]:
    """For each key, the item with the most images; the first of equals."""
    kept: dict[_Key, _T] = {}
    for one in read:
        if key(one) not in kept or size(one) > size(kept[key(one)]):
            kept[key(one)] = one
    return kept


def note(have: int, info: RunInfo, warned: bool, older: bool = False) -> str:
    """The caveats of a line."""
    notes = {
        "older weights": older,
        "no rows yet": have == 0,
        "incomplete": 0 < have < info.images,
        f"{info.data.sample} sample": info.data.sample != "first",
        "see warnings": warned,
    }
    return "; ".join(text for text, holds in notes.items() if holds)


def published(info: RunInfo) -> tuple[Published, ...]:
    """Numbers published for the run's model, training (adversarial or clean) and test set."""
    name, train = info.model.name, info.model.train
    if name not in recipe_files("models") or info.data.split != "test":
        return ()
    wanted = info.data.name, "clean" if train and train.get("clean") else "adversarial"
    return tuple(row for row in model_recipe(name).published if (row.data, row.trained) == wanted)


def same_threat(row: Published, spec: AttackSpec) -> bool:
    """Whether a number was published under this threat."""
    return (row.norm, row.targeted) == (spec.norm, spec.targeted) and same_size(
        parse_size(row.eps, row.norm), spec.eps
    )


def less_published(measured: float | None, known: float | None) -> float | None:
    """The measured percentage minus the published one, if there are both."""
    return None if measured is None or known is None else round(measured - known, 4)


def precision(info: RunInfo) -> str:
    """The requested precision, and what `auto` chose."""
    chosen = info.found.get("precision", {}).get("chosen")
    return f"{info.precision} ({chosen})" if chosen else info.precision


def conditions(one: RunAtBudget) -> Line:
    """The conditions that a line was measured under: its columns before the scores."""
    info = one.run.info
    return {
        **network(info),
        **Setting.of(one.run).columns(WHITE_BOX),
        **attack_columns(info.attack, one.budget, one.iters),
        "n": one.n,
        "planned": info.images,
        "precision": precision(info),
        "seed": info.seed,
    }
