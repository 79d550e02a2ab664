"""Security curves: robust accuracy against the radius, and the median smallest perturbation.

A curve has the runs of one network under one attack at several radii, whether they were made
together (`--eps 1/255,2/255`) or apart. Free of torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from pandas import DataFrame

from fdbench.reporting.attack_columns import Value, attack_columns
from fdbench.reporting.cells import NONE, column, missing, number, numbers
from fdbench.reporting.document import Cells, Part
from fdbench.reporting.outcomes import RunAtBudget, at_budgets
from fdbench.reporting.scoring import Line, conditions, percent, scored
from fdbench.reporting.setting import THREAT, size_in
from fdbench.specs import digest
from fdbench.stats import wilson
from fdbench.store import Run
from fdbench.units import print_size

SETTING = tuple(name for name in THREAT if name != "eps")
_ATTACK = ("attack", "loss", "restarts", "iters", "precision", "seed", "n")
SERIES = ("model", "weights", *SETTING, *_ATTACK)  # the columns that name a curve
CURVES = (*SERIES, "eps", *scored(("clean", "robust")), "median", "median_low", "median_high")
FEWEST = 3  # radii of a curve

Points = Sequence[tuple[float, float]]  # radii in ascending order, and shares of images


def crossing(points: Points, level: float = 0.5) -> float | None:
    """The radius where a falling curve, from 1 at 0 through `points`, reaches `level`.

    On straight lines between the points; None if it stays above.
    """
    for (left, above), (right, below) in pairwise([(0.0, 1.0), *points]):
        if below <= level:
            return left + (right - left) * (above - level) / (above - below)
    return None


def median_perturbation(
    radii: Sequence[float], robust: Sequence[int], clean: int
) -> tuple[float | None, float | None, float | None]:
    """The median smallest perturbation of the images that are right when clean, with its interval.

    The interval is where the 95 % Wilson intervals of the shares cross one half. None: beyond the
    largest radius.

    Args:
        radii: in ascending order.
        robust: images that are right at each radius.
        clean: images that are right when clean.
    """
    left = [min(robust[: place + 1]) for place in range(len(robust))]  # a larger ball breaks more
    share = [count / clean for count in left]
    ends = [wilson(count, clean) for count in left]
    shares = (share, [end.low for end in ends], [end.high for end in ends])
    middle, low, high = (crossing(list(zip(radii, one, strict=True))) for one in shares)
    return middle, low, high


def _series(one: RunAtBudget) -> str:
    """Equal for the points of one curve."""
    info = one.run.info
    attack = {name: value for name, value in info.attack.identity.items() if name != "eps"}
    data = [info.data.name, info.data.split, info.data.fingerprint, info.model.weights]
    return digest([*data, info.model.name, attack, one.budget, info.seed, info.precision, one.n])


def _lines(points: Sequence[RunAtBudget]) -> list[Line]:
    """The points of a curve, by radius."""
    ordered = sorted(points, key=lambda one: one.run.info.attack.eps)
    radii = [one.run.info.attack.eps for one in ordered]
    clean = ordered[0].clean_verdicts.total
    robust = [one.verdicts.total for one in ordered]
    medians = median_perturbation(radii, robust, clean) if clean else (None,) * 3
    ends: Line = dict(zip(CURVES[-3:], medians, strict=True))
    return [
        {name: value for name, value in conditions(one).items() if name in CURVES}
        | {"attack": _name(one)}
        | percent("clean", clean, one.n)
        | percent("robust", count, one.n)
        | ends
        for one, count in zip(ordered, robust, strict=True)
    ]


def curves(runs: Sequence[Run]) -> DataFrame:
    """One line per curve and radius, in the columns CURVES; curves of three radii and more."""
    groups: dict[str, dict[float, RunAtBudget]] = {}
    for one in (one for run in runs for one in at_budgets(run) if one.n):
        groups.setdefault(_series(one), {})[one.run.info.attack.eps] = one
    lines = [
        line
        for points in groups.values()
        if len(points) >= FEWEST
        for line in _lines(list(points.values()))
    ]
    table = DataFrame(lines, columns=list(CURVES))
    table["iters"] = table["iters"].astype("Int64")
    return table


def _median(points: DataFrame) -> str:
    """`2.1 [1.9, 2.4]`; an end beyond the largest radius as `>8`."""
    first, largest = points.iloc[0], str(points.iloc[-1]["eps"])
    norm = str(first["norm"])

    def text(value: Value) -> str:
        if missing(value):
            return f">{_short(largest, norm)}"
        size = float(value or 0)
        return f"{255 * size:.1f}" if norm == "linf" else print_size(size, norm)

    middle, low, high = (text(first[name]) for name in CURVES[-3:])
    return f"{middle} [{low}, {high}]"


def curve_parts(table: DataFrame) -> Iterator[Part]:
    """A table for each data set and goal: a line for each curve, a column for each radius."""
    for key, lines in table.groupby(list(SETTING), sort=False):
        data, split, norm, goal = map(str, key)
        series = list(lines.groupby(list(SERIES), sort=False, dropna=False))
        first = [points.iloc[0] for _, points in series]
        radii = sorted(lines["eps"].unique(), key=size_in)
        attacks = [_attack(dict(one)) for one in first]
        same = f"attack {attacks[0]}" if len(set(attacks)) == 1 else ""
        columns = [
            column("model", [str(one["model"]) for one in first]),
            *([] if same else [column("attack", attacks)]),
            column("n", numbers(DataFrame(first), "n")),
            column("clean", numbers(DataFrame(first), "clean")),
            *(column(_short(e, norm), [_at(points, e) for _, points in series]) for e in radii),
            column("median", [_median(points) for _, points in series]),
        ]
        unit = ", /255" if norm == "linf" else ""
        title = f"Against eps{unit}: {data} {split}, {norm}, {goal}"
        weights = tuple(lines["weights"].unique())
        yield Part("headline", title, Cells(tuple(columns)), same, (), weights, None, "curves.csv")


def _name(one: RunAtBudget) -> str:
    """The attack without its radii, which are the table's columns."""
    spec = one.run.info.attack
    alone = replace(spec, parameters=spec.parameters.alone)
    together = "" if alone == spec else ", in one run"
    return f"{attack_columns(alone, one.budget, one.iters)['attack']}{together}"


def _attack(line: Line) -> str:
    return str(line["attack"]) + ("" if missing(line["iters"]) else f" {line['iters']}")


def _short(eps: str, norm: str) -> str:
    """An eps as a heading: linf sizes without the unit, which is in the title."""
    return eps.removesuffix("/255") if norm == "linf" else eps


def _at(points: DataFrame, eps: str) -> str:
    """Robust accuracy at a radius."""
    there = points[points["eps"] == eps]["robust"]
    return number(float(there.iloc[0])) if len(there) else NONE
