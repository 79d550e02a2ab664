"""Robust accuracy against the radius, drawn from security.curves' lines."""

from functools import partial
from itertools import chain

from pandas import DataFrame

from fdbench.reporting.figures.panels import (
    COLOURS,
    DASHES,
    MARKERS,
    SCREEN,
    Axes,
    Curve,
    Label,
    Limits,
    Look,
    band,
    draw,
    frame,
    height_for,
    label_curves,
    limits,
)
from fdbench.reporting.security import SERIES, SETTING
from fdbench.reporting.setting import Setting, size_in


def _curves_of(lines: DataFrame) -> list[Curve]:
    """The curves of a panel, each from clean accuracy at radius 0."""
    groups = list(lines.groupby(list(SERIES), sort=False, dropna=False))
    models = [str(points["model"].iloc[0]) for _, points in groups]
    curves = []
    for place, (model, (_, points)) in enumerate(zip(models, groups, strict=True)):
        alone = models.count(model) == 1
        clean = points.iloc[:1].assign(
            eps="0", **{f"robust{end}": points[f"clean{end}"].iloc[:1] for end in _ENDS}
        )
        drawn = DataFrame([*clean.to_dict("records"), *points.to_dict("records")])
        turn, dash = place % len(COLOURS), place // len(COLOURS) % len(DASHES)
        label = model if alone else f"{model}, {points['attack'].iloc[0]}"
        curves.append(Curve(label, drawn, COLOURS[turn], MARKERS[turn], DASHES[dash]))
    return curves


_ENDS = ("", "_low", "_high")


def _panel(axes: Axes, curves: list[Curve], height: float, ends: Limits) -> None:
    labels = []
    for curve in curves:
        x, robust = curve.points["eps"].map(size_in), curve.points["robust"].astype(float)
        band(axes, x, curve, "robust", len(curves))
        axes.plot(x, robust, color=curve.colour, lw=1.8, ls=curve.dash, marker=curve.marker, ms=5)
        end = (float(x.iloc[-1]), float(robust.iloc[-1]))
        labels.append(Label(curve.label, end, curve.colour, {"ls": curve.dash}))
    ticks = {text: size_in(text) for curve in curves for text in curve.points["eps"]}
    axes.set_xticks(list(ticks.values()), [text.replace("/255", "") for text in ticks])
    frame(axes, ends, "robust accuracy, %")
    axes.set_xlabel("eps, /255" if any("/255" in text for text in ticks) else "eps")
    label_curves(axes, labels, height)


def _setting(data: str, split: str, norm: str, targeted: str) -> Setting:
    return Setting(data, split, norm, "at every eps", targeted)


def render(table: DataFrame, look: Look = SCREEN) -> dict[str, bytes]:
    """The figure as "png" and "svg", a panel for each data set and goal; empty without curves."""
    if table.empty:
        return {}
    panels = {
        _setting(*map(str, key)): _curves_of(lines)
        for key, lines in table.groupby(list(SETTING), sort=False)
    }
    shown = chain.from_iterable(panels.values())
    scores = chain.from_iterable(curve.points["robust_low"].astype(float) for curve in shown)
    high = table["clean_high"].astype(float).max()
    ends = limits([*scores, high])
    return draw(panels, partial(_panel, ends=ends), height_for(panels.values(), look), look)
