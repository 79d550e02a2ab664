"""Shared by white-box and black-box scores: percentages with their intervals, published numbers,
notes, and the comparison of two networks image by image.

Every number is a pure function of rows (contract C6): in percent of all the images that a line
counts, with a 95 % interval. Free of torch.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, product
from typing import TypeVar

from pandas import DataFrame

from fdbench.reporting.attack_columns import Value, attack_columns, identity_at, same_size
from fdbench.reporting.outcomes import RunAtBudget, Verdicts, at_budgets
from fdbench.reporting.setting import THREAT, WHITE_BOX, Setting, in_order
from fdbench.specs import AttackSpec, Published, digest, model_recipe, recipe_files
from fdbench.stats import Paired, paired, wilson
from fdbench.store import Run, RunInfo
from fdbench.units import parse_size

_T = TypeVar("_T")
_Key = TypeVar("_Key")
Scores = dict[str, float | None]  # a line's numbers by column
Line = dict[str, Value]  # a table's line by column: texts, counts and scores

MANY = 20  # networks; of more, each is compared with the first only
ENDS = ("", "_low", "_high")  # of a score's three columns: itself and its interval
PAIRED = (
    *(*THREAT, "attack", "loss", "restarts", "iters"),
    *("precision", "seed", "model", "weights", "against", "against_weights", "n"),
    *("difference", "difference_low", "difference_high", "only_model", "only_against", "p"),
)


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


def paired_verdicts(one: Verdicts, two: Verdicts) -> Paired:
    """Compares two networks, or one under two attacks, on the images that both have."""
    return paired(*one.beside(two))


def _same_conditions(one: RunAtBudget) -> str:
    """A digest, equal for two outcomes if and only if they may be compared image by image."""
    info = one.run.info
    data = [info.data.name, info.data.split, info.data.fingerprint]
    attack = identity_at(info.attack, one.budget, one.iters)
    return digest([data, attack, info.seed, info.precision, dict(info.further)])


def _comparison(against: RunAtBudget, one: RunAtBudget) -> Line:
    both = paired_verdicts(one.verdicts, against.verdicts)
    other = network(against.run.info)
    line = {key: value for key, value in conditions(one).items() if key in PAIRED}
    return line | {
        "against": other["model"],
        "against_weights": other["weights"],
        "n": both.n,
        "difference": rounded(both.difference),
        "difference_low": rounded(both.interval.low),
        "difference_high": rounded(both.interval.high),
        "only_model": both.only_first,
        "only_against": both.only_second,
        "p": both.p,
    }


def _pairs(
    networks: Sequence[RunAtBudget], baseline: str | None
) -> Iterable[tuple[RunAtBudget, RunAtBudget]]:
    """Every two networks; of more than MANY, or with a baseline, only those with one of them."""
    if baseline is None and len(networks) <= MANY:
        return combinations(networks, 2)
    first = [one for one in networks if one.run.info.model.name == baseline]
    if baseline is None:
        first = list(networks[:1])
    others = [one for one in networks if one not in first]
    return [*combinations(first, 2), *product(first, others)]


def comparisons(runs: Sequence[Run], baseline: str | None = None) -> DataFrame:
    """Every two networks under the same attack, on the images that both have; columns PAIRED.

    With a `baseline`, a model's name, every other network with it; without one, each with the first
    (see `contestant`) where there are more than MANY: pairs grow with the square. `difference` is
    `model` minus `against`, in points; `p` is McNemar's, not corrected for the number of
    comparisons.
    """
    groups: dict[str, list[RunAtBudget]] = {}
    for one in (one for run in runs for one in at_budgets(run)):
        groups.setdefault(_same_conditions(one), []).append(one)
    lines: list[Line] = []
    for group in groups.values():
        kept = fullest(group, lambda one: contestant(one.run), lambda one: one.n)
        by_name = [kept[who] for who in sorted(kept)]
        lines += [_comparison(first, second) for first, second in _pairs(by_name, baseline)]
    table = DataFrame([line for line in lines if line["n"]], columns=list(PAIRED))
    table["iters"] = table["iters"].astype("Int64")
    keys = ["data", "norm", "eps", "targeted", "against", "model", "iters"]
    return in_order(table, keys)
