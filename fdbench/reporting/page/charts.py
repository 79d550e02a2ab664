"""Charts of the page as data: series of points with their intervals.

A chart is drawn by the page from the table that stands behind it; here is what that table says.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import numpy as np
from pandas import DataFrame

from fdbench.reporting.cells import missing
from fdbench.reporting.figures import accuracy_against_attackers, accuracy_against_iterations
from fdbench.reporting.figures.panels import COLOURS, DASHES, Curve
from fdbench.reporting.page.trials import NOBODY, Trial
from fdbench.reporting.setting import size_in

CLEAN = "clean"  # in place of a number of iterations
_STEPS = 24  # points of a curve that has one for every iteration


@dataclass(frozen=True)
class Point:
    """`x` is a number, or a name that has a place of its own on the axis."""

    x: str
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """One line, or a single point; colour and dash are places in the page's lists."""

    label: str
    colour: int
    dash: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """`axis` says how x is drawn."""

    title: str
    x: str
    y: str
    axis: Literal["log", "linear"]
    series: tuple[Series, ...]
    note: str = ""


def _number(value: object) -> float | None:
    return None if missing(value) else float(str(value))


def _points(points: DataFrame, x: str, y: str) -> Iterator[Point]:
    columns = (points[name].tolist() for name in (x, y, f"{y}_low", f"{y}_high"))
    for at, score, low, high in zip(*columns, strict=True):
        if not missing(score):
            yield Point(f"{at:g}", float(score), _number(low), _number(high))


def _series(curve: Curve, points: Iterable[Point]) -> Series:
    dash = DASHES.index(curve.dash)
    return Series(curve.label, COLOURS.index(curve.colour), dash, tuple(points))


def _iterated(curve: Curve) -> Series:
    """A network's curve from its clean accuracy on; an attack without iterations is one point."""
    last = curve.points.iloc[-1]
    if math.isnan(last["iters"]):
        low, high = _number(last["robust_low"]), _number(last["robust_high"])
        point = Point(str(last["attack"]), float(last["robust"]), low, high)
        known = f", {point.x.partition(' ')[2]}"  # what the label says of the attack's name already
        return replace(
            _series(curve, [point]), label=f"{curve.label.removesuffix(known)}, {point.x}"
        )
    clean = [
        Point(CLEAN, one.y, one.low, one.high)
        for one in list(_points(curve.points.iloc[-1:], "iters", "clean"))
    ]
    return _series(curve, [*clean, *_points(curve.points, "iters", "robust")])


def against_iterations(whitebox: DataFrame) -> Iterator[Chart]:
    """Accuracy against iterations, a chart for each threat."""
    for setting, curves in accuracy_against_iterations.panels(whitebox).items():
        series = tuple(map(_iterated, curves))
        yield Chart(setting.title, "attack iterations", "accuracy, %", "log", series)


def against_attackers(curve: DataFrame, scores: DataFrame) -> Iterator[Chart]:
    """All-or-nothing accuracy against the number of attackers, a chart for each set."""
    for setting, curves in accuracy_against_attackers.panels(curve, scores).items():
        series = tuple(
            _series(one, _points(one.points, "attackers", "strongest")) for one in curves
        )
        yield Chart(
            setting.title,
            "attackers, the strongest first",
            "correct under all of them, %",
            "linear",
            series,
        )


_SAME_ATTACK = (
    *("data", "split", "norm", "targeted", "knowledge"),
    *("attack", "loss", "restarts", "alpha_rule", "precision", "seed"),
)


def against_eps(whitebox: DataFrame) -> Iterator[Chart]:
    """Accuracy against eps under the same attack, where it was run at two sizes or more.

    Of an attack's budgets the one that most networks and sizes share, the larger of two.
    """
    for key, lines in whitebox.groupby(list(_SAME_ATTACK), dropna=False, sort=False):
        if lines["eps"].nunique() < 2:
            continue
        sizes = lines.groupby(lines["iters"].astype(float).fillna(0))["eps"].agg(
            ["nunique", "size"]
        )
        shared = max(sizes.index, key=lambda i: (sizes["nunique"][i], sizes["size"][i], i))
        same = lines[lines["iters"].astype(float).fillna(0) == shared]
        series = tuple(_by_eps(same))
        if series:
            named = dict(zip(_SAME_ATTACK, map(str, key), strict=True))
            attack = f"{named['attack']} {shared:g}" if shared else named["attack"]
            title = f"{named['data']} {named['split']}, {named['norm']}, {attack}"
            yield Chart(title, "eps", "accuracy, %", "linear", series)


def _by_eps(lines: DataFrame) -> Iterator[Series]:
    """The networks that were attacked at two sizes or more, from clean accuracy at eps 0 on."""
    networks = lines.groupby(["model", "weights"], sort=False)
    names = [model for (model, _), _ in networks]
    for place, ((model, weights), mine) in enumerate(networks):
        sized = mine.assign(size=mine["eps"].map(size_in)).sort_values("size")
        sized = sized.drop_duplicates("eps", keep="last")
        if len(sized) < 2:
            continue
        label = str(model) if names.count(model) == 1 else f"{model}, {weights}"
        clean = next(_points(sized.assign(size=0.0), "size", "clean"))
        points = (
            Point(str(line["eps"]), float(line["robust"]), _number(line["robust_low"]),
                  _number(line["robust_high"]))
            for line in sized.to_dict("records")
        )  # fmt: skip
        yield Series(label, place % len(COLOURS), place // len(COLOURS) % len(DASHES),
                     (clean, *points))  # fmt: skip


def _thinned(steps: Sequence[int]) -> list[int]:
    """At most _STEPS of the iterations, evenly spaced in their logarithm, the last included."""
    if len(steps) <= _STEPS:
        return list(steps)
    wanted = np.geomspace(max(steps[0], 1), steps[-1], _STEPS)
    places = np.searchsorted(steps, np.floor(wanted)).clip(max=len(steps) - 1)
    return [steps[i] for i in dict.fromkeys(places.tolist())]


def _falling(trial: Trial) -> list[Point]:
    """The share of images whose iterates were right so far, under the attack with most of them."""
    iterated = [one for one in trial.attempts if (one.when != NOBODY).any()]
    if not iterated:
        return []
    last = max(iterated, key=lambda one: one.order)
    holds, count = trial.clean_right & last.judged, int(last.judged.sum())
    falls = last.when[holds & (last.when != NOBODY)]
    steps = _thinned(np.unique(falls[falls > 0]).tolist())
    share = [100 * float((holds.sum() - (falls <= step).sum()) / count) for step in steps]
    first = Point(CLEAN, 100 * float(holds.sum() / count))
    return [first, *(Point(str(step), y) for step, y in zip(steps, share, strict=True))]


def when_broken(trials: Sequence[Trial]) -> Iterator[Chart]:
    """The share of images that every iterate so far left right, a chart for each threat."""
    for setting, of_threat in groupby(trials, key=lambda one: one.setting):
        ones = list(of_threat)
        series = tuple(
            Series(one.label, i % len(COLOURS), i // len(COLOURS) % len(DASHES), tuple(points))
            for i, (one, points) in enumerate(zip(ones, map(_falling, ones), strict=True))
            if points
        )
        if series:
            yield Chart(setting.title, "iteration", "not yet broken, %", "log", series)
