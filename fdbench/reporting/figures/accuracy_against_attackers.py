"""All-or-nothing accuracy against the number of attackers, drawn from blackbox.curve's lines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pandas import DataFrame

from fdbench.reporting.blackbox import DENOMINATORS
from fdbench.reporting.figures import accuracy_against_iterations as curves
from fdbench.reporting.figures.accuracy_against_iterations import (
    COLOURS,
    DASHES,
    INK,
    LABEL,
    MARKERS,
    STYLE,
    as_bytes,
)
from fdbench.reporting.setting import BLACK_BOX, by_setting

_WIDTH, _HEIGHT = 7.2, 4.3  # inches of a panel
_MARKED = 16  # attackers up to which each point gets a mark


@dataclass(frozen=True)
class _Line:
    """One network's curves; its label and how they are drawn."""

    label: str
    points: DataFrame
    published: float  # nan where there is none
    place: int

    @property
    def colour(self) -> str:
        return COLOURS[self.place % len(COLOURS)]

    @property
    def marker(self) -> str:
        return MARKERS[self.place // len(COLOURS) % len(MARKERS)]

    @property
    def last(self) -> float:
        return float(self.points["strongest"].iloc[-1])


def _lines(points: DataFrame, scores: DataFrame) -> list[_Line]:
    """The networks of one set, in the table's order."""
    keys = ["model", "weights"]
    published = dict(zip(scores["model"] + scores["weights"], scores["published"], strict=True))
    groups = list(points.groupby(keys, sort=False))
    names = [str(model) for (model, _), _ in groups]
    return [
        _Line(
            name if names.count(name) == 1 else f"{name}, {key[1]}",
            own.sort_values("attackers"),
            float(published["".join(map(str, key))]),
            place,
        )
        for place, (name, (key, own)) in enumerate(zip(names, groups, strict=True))
    ]


def _curves(axes: Any, line: _Line, shade: float) -> None:
    """Strongest first with its interval, the mean over all choices thin, published hollow."""
    k = line.points["attackers"].to_numpy(float)
    marker = line.marker if len(k) <= _MARKED else None
    low, high = line.points["strongest_low"], line.points["strongest_high"]
    axes.fill_between(k, low, high, color=line.colour, alpha=shade, lw=0)
    axes.plot(k, line.points["strongest"], color=line.colour, lw=1.8, marker=marker, ms=5)
    axes.plot(k, line.points["mean"], color=line.colour, lw=1.1, ls=DASHES[1])
    if not math.isnan(line.published):
        style = {"ls": "none", "marker": "D", "ms": 7, "mfc": "none", "mew": 1.3, "zorder": 4}
        axes.plot(k[-1:], [line.published], color=line.colour, **style)


def _frame(axes: Any, title: str, lines: Sequence[_Line]) -> None:
    most = max(int(line.points["attackers"].max()) for line in lines)
    axes.set_xlim(0.8, most + 0.25)
    axes.set_xticks(range(1, most + 1, max(1, math.ceil(most / _MARKED))))
    names = [f"{name}_{end}" for name in ("strongest", "mean") for end in ("low", "high")]
    values = [v for line in lines for v in line.points[names].to_numpy(float).ravel()]
    values += [line.published for line in lines if not math.isnan(line.published)]
    axes.set_ylim(max(0.0, min(values) - 3), min(100.0, max(values) + 3))
    axes.grid(axis="y", color="#E6E6E6", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left")
    axes.set_ylabel("right under all of them, % of all images")
    hollow = any(not math.isnan(line.published) for line in lines)
    axes.set_xlabel(
        "attackers (solid: the strongest first; dashed: mean over all choices"
        + ("; hollow: published)" if hollow else ")")
    )


def _label(axes: Any, lines: Sequence[_Line]) -> None:
    """Names at the right, outside the axes, each with a thin line to its curve's end."""
    low, high = axes.get_ylim()
    places = curves.spread([line.last for line in lines], (high - low) * LABEL / _HEIGHT * 1.3)
    for line, place in zip(lines, places, strict=True):
        axes.annotate(
            line.label,
            xy=(float(line.points["attackers"].iloc[-1]), line.last),
            xytext=(1.05, place),
            textcoords=("axes fraction", "data"),
            va="center",
            color=INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": line.colour, "lw": 0.9, "relpos": (0, 0.5)},
        )


def render(curve: DataFrame, scores: DataFrame) -> dict[str, bytes]:
    """The figure as "png" and "svg"; nothing where no set has two attackers to choose from.

    `curve` is blackbox.curve's, `scores` blackbox.blackbox's. One panel a set, one colour a
    network, its 95 % interval shaded; the same tables give the same bytes.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    of_all = curve[(curve["denominator"] == DENOMINATORS[0]) & (curve["n"] > 0)]
    of_all = of_all[of_all.groupby(list(BLACK_BOX))["attackers"].transform("max") > 1]
    if of_all.empty:
        return {}
    all_scores = scores[scores["denominator"] == DENOMINATORS[0]]
    known = dict(by_setting(all_scores, BLACK_BOX))
    panels = {
        setting: _lines(own, known[setting]) for setting, own in by_setting(of_all, BLACK_BOX)
    }
    across = 1 if len(panels) == 1 else 2
    down = math.ceil(len(panels) / across)
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(_WIDTH * across, _HEIGHT * down), layout="constrained")
        FigureCanvasAgg(drawn)
        grid = drawn.subplots(down, across, squeeze=False).ravel()
        for axes, (setting, lines) in zip(grid, panels.items(), strict=False):
            for line in lines:
                _curves(axes, line, shade=0.13 if len(lines) < 5 else 0.06)
            _frame(axes, setting.title, lines)
            _label(axes, lines)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        return {"png": as_bytes(drawn, "png"), "svg": as_bytes(drawn, "svg")}
