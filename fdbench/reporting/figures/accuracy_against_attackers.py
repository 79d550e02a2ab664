"""All-or-nothing accuracy against the number of attackers, drawn from blackbox.curve's lines."""

import math
from collections.abc import Iterable
from functools import partial
from itertools import chain

from pandas import DataFrame

from fdbench.reporting.all_or_nothing import DENOMINATORS
from fdbench.reporting.figures.panels import (
    COLOURS,
    DASHES,
    MARKERS,
    SCREEN,
    TOO_MANY,
    Axes,
    Curve,
    Label,
    Limits,
    Look,
    Style,
    band,
    draw,
    frame,
    height_for,
    hollow,
    label_curves,
    limits,
)
from fdbench.reporting.setting import BLACK_BOX, Setting, by_setting

_MARKED = 16  # up to this many attackers, each point has a marker and each tick a number
_SCORES = ("strongest_low", "strongest_high", "mean_low", "mean_high", "published")


def _curves_of(points: DataFrame, scores: DataFrame) -> list[Curve]:
    """The networks of one set, in the table's order; the published number is for the last k."""
    published = dict(zip(scores["model"] + scores["weights"], scores["published"], strict=True))
    groups = list(points.groupby(["model", "weights"], sort=False))
    names = [str(model) for (model, _), _ in groups]
    return [
        Curve(
            name if names.count(name) == 1 else f"{name}, {weights}",
            rows.sort_values("attackers").assign(published=float(published[f"{name}{weights}"])),
            COLOURS[place % len(COLOURS)],
            MARKERS[place % len(MARKERS)],
            DASHES[place // len(COLOURS) % len(DASHES)],
        )
        for place, (name, ((_, weights), rows)) in enumerate(zip(names, groups, strict=True))
    ]


def _published(curve: Curve) -> float:
    """The published accuracy; NaN if there is none."""
    return float(curve.points["published"].iloc[-1])


def _curve(axes: Axes, curve: Curve, curves: int) -> None:
    """Strongest first with its interval, the mean over all choices thin, published hollow.

    Of many curves, dashes tell those of one colour apart, and there is no mean.
    """
    k, many = curve.points["attackers"].astype(float), curves > TOO_MANY
    marker = curve.marker if len(k) <= _MARKED else None
    band(axes, k, curve, "strongest", curves)
    style: Style = {"color": curve.colour, "ls": curve.dash if many else "-"}
    axes.plot(k, curve.points["strongest"], **style, lw=1.8, marker=marker, ms=5)
    if not many:
        axes.plot(k, curve.points["mean"], color=curve.colour, lw=1.1, ls=DASHES[1])
    if not math.isnan(_published(curve)):
        hollow(axes, k[-1:], [_published(curve)], curve.colour)


def _scores(curves: Iterable[Curve]) -> Iterable[float]:
    for curve in curves:
        yield from curve.points[list(_SCORES)].to_numpy(float).ravel().tolist()


def _reading(curves: list[Curve]) -> str:
    """What the lines and points are."""
    many = len(curves) > TOO_MANY
    lines = "the strongest first" if many else "solid: the strongest first; dashed: mean over all"
    published = any(not math.isnan(_published(curve)) for curve in curves)
    return f"{lines}; hollow: published" if published else lines


def _panel(axes: Axes, curves: list[Curve], height: float, ends: Limits) -> None:
    for curve in curves:
        _curve(axes, curve, len(curves))
    most = max(int(curve.points["attackers"].max()) for curve in curves)
    axes.set_xlim(0.8, most + 0.25)
    axes.set_xticks(range(1, most + 1, max(1, math.ceil(most / _MARKED))))
    frame(axes, ends, "correct under all of them, % of all images")
    axes.set_xlabel(f"attackers ({_reading(curves)})")
    last = [curve.points.iloc[-1] for curve in curves]
    places = [(float(line["attackers"]), float(line["strongest"])) for line in last]
    labels = [
        Label(c.label, place, c.colour, {"ls": c.dash} if len(curves) > TOO_MANY else {})
        for c, place in zip(curves, places, strict=True)
    ]
    label_curves(axes, labels, height)


def panels(curve: DataFrame, scores: DataFrame) -> dict[Setting, list[Curve]]:
    """The curves of each set that has two attackers; of all images."""
    drawn = curve[(curve["denominator"] == DENOMINATORS[0]) & (curve["n"] > 0)]
    drawn = drawn[drawn.groupby(list(BLACK_BOX))["attackers"].transform("max") > 1]
    of_all = scores[scores["denominator"] == DENOMINATORS[0]]
    scores_in = dict(by_setting(of_all, BLACK_BOX))
    return {
        setting: _curves_of(lines, scores_in[setting])
        for setting, lines in by_setting(drawn, BLACK_BOX)
    }


def render(curve: DataFrame, scores: DataFrame, look: Look = SCREEN) -> dict[str, bytes]:
    """The figure as "png" and "svg"; empty if no set has two attackers.

    `curve` and `scores` are tables of all_or_nothing.py. One panel per set, one colour per
    network, its 95 % interval as a band; the same tables give the same bytes.
    """
    drawn = panels(curve, scores)
    if not drawn:
        return {}
    ends = limits(_scores(chain.from_iterable(drawn.values())))
    return draw(drawn, partial(_panel, ends=ends), height_for(drawn.values(), look), look)
