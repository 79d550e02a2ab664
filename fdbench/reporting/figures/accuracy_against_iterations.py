"""Accuracy against iterations, as the paper's Fig. 6 and 7 draw it, from whitebox.whitebox."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from pandas import DataFrame

from fdbench.reporting.figures.panels import (
    COLOURS,
    DASHES,
    FAINT,
    MARKERS,
    Axes,
    Curve,
    Label,
    Style,
    band,
    draw,
    frame,
    height_for,
    hollow,
    label_curves,
)
from fdbench.reporting.setting import WHITE_BOX, by_setting

_CONDITIONS = ("attack", "loss", "restarts", "alpha_rule", "precision", "seed", "planned")
_SERIES = ("model", "weights", *_CONDITIONS)
_SCORES = ("robust_low", "robust_high", "clean_low", "clean_high", "published", "published_clean")
_SHORT: Style = {"ls": (0, (1, 4)), "lw": 0.7, "alpha": 0.7}  # leader line of a shorter curve
Network = tuple[str, str]  # its name and weights


def _end(curve: Curve) -> tuple[float, float]:
    """Iterations and accuracy of its last point."""
    last = curve.points.iloc[-1]
    return float(last["iters"]), float(last["robust"])


def _labels(series: DataFrame) -> list[str]:
    """The model's name, followed by the conditions that differ between the lines of a panel."""
    differing = [name for name in _CONDITIONS if series[name].nunique(dropna=False) > 1]
    shared = series[["model", "weights"]].drop_duplicates()["model"].duplicated(keep=False)
    repeated = set(series["model"][shared[shared].index])
    labels = []
    for line in series.to_dict("records"):
        parts = [str(line["model"])]
        parts += [str(line["weights"])] if line["model"] in repeated else []
        parts += [f"{name.split('_')[0]} {line[name]}" for name in differing]
        labels.append(", ".join(parts))
    return labels


def curves_of(lines: DataFrame, taken: dict[Network, int]) -> list[Curve]:
    """The curves of a panel. A network has one colour in all panels, and one dash style per attack.

    `taken` is each network's place among the colours; new networks are added to it.
    """
    groups = lines.groupby(list(_SERIES), dropna=False, sort=False)
    labels = _labels(DataFrame([key for key, _ in groups], columns=list(_SERIES)))
    curves, drawn = [], Counter[Network]()
    for (key, points), label in zip(groups, labels, strict=True):
        network = str(key[0]), str(key[1])
        place = taken.setdefault(network, len(taken))
        turn = (place // len(COLOURS) + drawn[network]) % len(DASHES)
        drawn[network] += 1
        colour = COLOURS[place % len(COLOURS)]
        points = points.sort_values("iters").drop_duplicates("iters", keep="last")
        curves.append(Curve(label, points, colour, MARKERS[turn], DASHES[turn]))
    return curves


def _bar(axes: Axes, at: float, curve: Curve, score: str, published: str) -> None:
    """One score with its interval, and the published one, hollow, at the same place."""
    line = curve.points.iloc[-1]
    if not math.isnan(line[score]):
        ends = [line[f"{score}_low"], line[f"{score}_high"]]
        axes.plot([at, at], ends, color=curve.colour, lw=1.2)
        axes.plot([at], [line[score]], marker=curve.marker, ms=5, color=curve.colour)
    if not math.isnan(line[published]):
        hollow(axes, [at], [line[published]], curve.colour)


def _curve(axes: Axes, curve: Curve, curves: int) -> None:
    """Robust accuracy at every budget, and the published ones."""
    x, robust = curve.points["iters"].astype(float), curve.points["robust"].astype(float)
    band(axes, x, curve, "robust", curves)
    axes.plot(x, robust, color=curve.colour, lw=1.8, ls=curve.dash)
    axes.plot(x, robust, ls="none", marker=curve.marker, ms=5, color=curve.colour)
    hollow(axes, x, curve.points["published"].astype(float), curve.colour)


def _scores(curves: Sequence[Curve]) -> Iterable[float]:
    for curve in curves:
        yield from curve.points[list(_SCORES)].to_numpy(float).ravel().tolist()


def _iterations(axes: Axes, budgets: Sequence[int], clean_at: float, slot: float) -> None:
    """A logarithmic axis; clean accuracy is to the left of it, beyond a dashed line."""
    axes.set_xscale("log")
    axes.set_xticks([clean_at, *budgets], ["clean", *map(str, budgets)])
    axes.minorticks_off()
    axes.set_xlim(clean_at / slot, budgets[-1] * slot ** (1 if len(budgets) == 1 else 0.35))
    axes.axvline((clean_at * budgets[0]) ** 0.5, color=FAINT, lw=0.8, ls=(0, (2, 3)))


def _label(axes: Axes, curves: Sequence[Curve], height: float) -> None:
    """Labels the curves. Leader lines of single points start at the axes' edge, to cross no point.

    Leader lines of curves that end before others are dotted and faint, or they would look like
    measurements.
    """
    edge, longest = axes.get_xlim()[1], max(_end(curve)[0] for curve in curves)
    only_points = all(len(curve.points) == 1 for curve in curves)
    labels = []
    for curve in curves:
        x, y = _end(curve)
        line = _SHORT if x < longest else {"ls": curve.dash}
        labels.append(Label(curve.label, (edge if only_points else x, y), curve.colour, line))
    label_curves(axes, labels, height)


def _panel(axes: Axes, curves: list[Curve], height: float) -> None:
    budgets = sorted({int(i) for curve in curves for i in curve.points["iters"]})
    # Markers at one x are spread over a slot: a tenth of the axis to each side.
    decades = max(math.log10(budgets[-1] / budgets[0]), 0.6)
    slot = 10 ** (0.1 * decades)
    clean_at = budgets[0] / 10 ** (0.3 * decades)
    for i, curve in enumerate(curves):
        aside = slot ** (0.8 * ((2 * i + 1) / len(curves) - 1))
        _bar(axes, clean_at * aside, curve, "clean", "published_clean")
        if len(budgets) > 1:
            _curve(axes, curve, len(curves))
        else:
            _bar(axes, budgets[0] * aside, curve, "robust", "published")
    _iterations(axes, budgets, clean_at, slot)
    frame(axes, _scores(curves), "accuracy, %")
    present = [curve.points[["published", "published_clean"]].notna() for curve in curves]
    published = any(points.any(axis=None) for points in present)
    axes.set_xlabel("attack iterations" + ("   (hollow: published)" if published else ""))
    _label(axes, curves, height)


def render(table: DataFrame) -> dict[str, bytes]:
    """The figure as "png" and "svg"; empty if no line has iterations and rows.

    One panel per data set and threat, one curve per network with its 95 % interval as a band; the
    same table gives the same bytes.
    """
    drawn = table[table["iters"].notna() & table["robust"].notna()]
    if drawn.empty:
        return {}
    taken: dict[Network, int] = {}
    panels = {setting: curves_of(lines, taken) for setting, lines in by_setting(drawn, WHITE_BOX)}
    return draw(panels, _panel, height_for(panels.values()))
