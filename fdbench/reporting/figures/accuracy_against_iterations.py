"""Accuracy against iterations, as the paper's Fig. 6 and 7 draw it, from whitebox.whitebox.

Attacks without iterations, such as AutoAttack, have places of their own right of the iterations:
their accuracies are often the lowest, and the picture must not be better than the table.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

from pandas import DataFrame, Series

from fdbench.reporting.cells import missing
from fdbench.reporting.figures.panels import (
    COLOURS,
    DASHES,
    FAINT,
    MARKERS,
    SCREEN,
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
from fdbench.reporting.security import FEWEST
from fdbench.reporting.setting import WHITE_BOX, Setting, by_setting, size_in

_CONDITIONS = ("attack", "loss", "restarts", "alpha_rule", "precision", "seed", "planned")
_SERIES = ("model", "weights", *_CONDITIONS)
_SCORES = ("robust_low", "robust_high", "clean_low", "clean_high", "published", "published_clean")
_SHORT: Style = {"ls": (0, (1, 4)), "lw": 0.7, "alpha": 0.7}  # leader line of a shorter curve
MANY = 24  # curves of a panel; of more, only the lowest of each network
_SAID = {  # how a label names a condition
    "attack": "{}",
    "loss": "{} loss",
    "restarts": "{} restarts",
    "alpha_rule": "{} steps",
    "precision": "{}",
    "seed": "seed {}",
    "planned": "{} images",
}
Network = tuple[str, str]  # its name and weights


@dataclass(frozen=True)
class Places:
    """Where a panel's axis has clean accuracy, iteration budgets and attacks without them."""

    clean: float
    budgets: tuple[int, ...]
    attacks: Mapping[str, float]
    slot: float  # factor: markers at one place are spread over a slot to each side

    @classmethod
    def of(cls, curves: Sequence[Curve]) -> "Places":
        iterated = [curve for curve in curves if _iterated(curve)]
        budgets = sorted({int(i) for curve in iterated for i in curve.points["iters"]})
        others = dict.fromkeys(str(c.points.iloc[-1]["attack"]) for c in curves if not _iterated(c))
        first, last = (budgets[0], budgets[-1]) if budgets else (1, 1)
        decades = max(math.log10(last / first), 0.6)  # a slot is a tenth of the axis
        slot = 10 ** (0.1 * decades)
        right = last * slot if budgets else 1 / slot
        attacks = {name: right * slot ** (3.0 * k) for k, name in enumerate(others, 1)}
        return cls(first / 10 ** (0.3 * decades), tuple(budgets), attacks, slot)

    @property
    def all(self) -> list[float]:
        return [self.clean, *map(float, self.budgets), *self.attacks.values()]

    def end(self, curve: Curve) -> tuple[float, float]:
        """Place and accuracy of its last point."""
        last = curve.points.iloc[-1]
        at = float(last["iters"]) if _iterated(curve) else self.attacks[str(last["attack"])]
        return at, float(last["robust"])


def _in_lines(name: str) -> str:
    """A name such as `autoattack (fab, square)`, in lines short enough to stand beside others."""
    return name.replace(" (", "\n(").replace(", ", ",\n")


def _network(curve: Curve) -> Network:
    """The name and weights of its network."""
    last = curve.points.iloc[-1]
    return str(last["model"]), str(last["weights"])


def _iterated(curve: Curve) -> bool:
    return not math.isnan(curve.points.iloc[-1]["iters"])


def _condition(name: str, value: object, usual: object) -> str:
    """What a label says of one condition; of an attack's name what it adds to the usual one."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return _SAID[name].format(text.removeprefix(f"{usual} "))


def _labels(series: DataFrame) -> list[tuple[Any, str]]:
    """The model's name, followed by the conditions in which a line is not as most of a panel are.

    Each with the index of its line in `series`. Lines of one network differ in some condition, and
    one of two that differ is unusual: no two have one label.
    """
    usual = {name: series[name].mode(dropna=False).iloc[0] for name in _CONDITIONS}
    shared = series[["model", "weights"]].drop_duplicates()["model"].duplicated(keep=False)
    repeated = set(series["model"][shared[shared].index])
    labels = []
    for i, line in zip(series.index, series.to_dict("records"), strict=True):
        odd = [
            name for name in _CONDITIONS if line[name] != usual[name] and not missing(line[name])
        ]
        parts = [str(line["model"])]
        parts += [str(line["weights"])] if line["model"] in repeated else []
        labels.append((i, ", ".join(parts + [_condition(n, line[n], usual[n]) for n in odd])))
    return labels


def curves_of(lines: DataFrame, taken: dict[Network, int]) -> list[Curve]:
    """The curves of a panel. A network has one colour in all panels, and one dash style per attack.

    `taken` is each network's place among the colours; new networks are added to it. Of more curves
    than can be told apart, only the lowest of each network.
    """
    groups = [
        (key, points) for key, points in lines.groupby(list(_SERIES), dropna=False, sort=False)
    ]
    series = DataFrame([key for key, _ in groups], columns=list(_SERIES))
    series["iterated"] = [not points["iters"].isna().any() for _, points in groups]
    if len(groups) > MANY:
        robust = [points.sort_values("iters")["robust"].iloc[-1] for _, points in groups]
        lowest = series.assign(robust=robust).sort_values("robust", kind="stable")
        kept = lowest.drop_duplicates(["model", "weights", "iterated"]).index.sort_values()
        series, groups = series.loc[kept].reset_index(drop=True), [groups[i] for i in kept]
    labels = {i: text for _, kind in series.groupby("iterated") for i, text in _labels(kind)}
    curves, drawn = [], Counter[Network]()
    for i, (key, points) in enumerate(groups):
        network = str(key[0]), str(key[1])
        place = taken.setdefault(network, len(taken))
        dash = DASHES[(place // len(COLOURS) + drawn[network]) % len(DASHES)]
        drawn[network] += 1
        turn = place % len(COLOURS)
        points = points.sort_values("iters").drop_duplicates("iters", keep="last")
        warned = " (see warnings)" if points["warnings"].any() else ""
        curves.append(Curve(labels[i] + warned, points, COLOURS[turn], MARKERS[turn], dash))
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


def _scores(curves: Iterable[Curve]) -> Iterable[float]:
    for curve in curves:
        yield from curve.points[list(_SCORES)].to_numpy(float).ravel().tolist()


def _axis(axes: Axes, places: Places) -> None:
    """A logarithmic axis; clean accuracy and attacks without iterations are beyond dashed lines."""
    axes.set_xscale("log")
    names = [_in_lines(name) for name in places.attacks]
    axes.set_xticks(places.all, ["clean", *map(str, places.budgets), *names])
    axes.minorticks_off()
    wide = places.attacks or len(places.budgets) == 1
    axes.set_xlim(places.clean / places.slot, places.all[-1] * places.slot ** (1 if wide else 0.35))
    gaps = [(places.clean, places.all[1])]
    if places.budgets and places.attacks:
        gaps.append((places.budgets[-1], next(iter(places.attacks.values()))))
    for left, right in gaps:
        axes.axvline((left * right) ** 0.5, color=FAINT, lw=0.8, ls=(0, (2, 3)))


def _label(axes: Axes, curves: Sequence[Curve], places: Places, height: float) -> None:
    """Labels the curves; an attack without iterations is named on the axis, its network once.

    Leader lines of single points start at the axes' edge, to cross no point.

    Leader lines of curves that end before others are dotted and faint, or they would look like
    measurements.
    """
    edge, longest = axes.get_xlim()[1], max(places.end(curve)[0] for curve in curves)
    only_points = all(len(curve.points) == 1 for curve in curves)
    named = [curve for curve in curves if _iterated(curve)] or list(curves)
    networks = set(map(_network, named))
    named += [curve for curve in curves if _network(curve) not in networks]
    labels = []
    for curve in named:
        x, y = places.end(curve)
        line = _SHORT if x < longest else {"ls": curve.dash}
        labels.append(Label(curve.label, (edge if only_points else x, y), curve.colour, line))
    label_curves(axes, labels, height)


def _panel(axes: Axes, curves: list[Curve], height: float, ends: Limits) -> None:
    places = Places.of(curves)
    shown: set[Network] = set()  # networks whose clean accuracy is drawn
    if all(len(curve.points) == 1 for curve in curves):  # side by side, in the order of the labels
        curves = sorted(curves, key=lambda curve: places.end(curve)[1])
    for i, curve in enumerate(curves):
        aside = places.slot ** (0.8 * ((2 * i + 1) / len(curves) - 1))
        if _network(curve) not in shown:
            shown.add(_network(curve))
            _bar(axes, places.clean * aside, curve, "clean", "published_clean")
        if _iterated(curve) and len(places.budgets) > 1:
            _curve(axes, curve, len(curves))
        else:
            _bar(axes, places.end(curve)[0] * aside, curve, "robust", "published")
    _axis(axes, places)
    frame(axes, ends, "accuracy, %")
    present = [curve.points[["published", "published_clean"]].notna() for curve in curves]
    published = any(points.any(axis=None) for points in present)
    axes.set_xlabel("attack iterations" + ("   (hollow: published)" if published else ""))
    _label(axes, curves, places, height)


def _only_of_curves(drawn: DataFrame) -> "Series[bool]":
    """The lines of threats that have nothing but smaller radii of security curves, drawn there."""
    same = [name for name in WHITE_BOX if name != "eps"] + ["model", "weights", "attack", "n"]
    radii, sizes = drawn.groupby(same, dropna=False)["eps"], drawn["eps"].map(size_in)
    largest = sizes.groupby([drawn[name] for name in same], dropna=False).transform("max")
    of_curve = drawn["iters"].isna() & (radii.transform("nunique") >= FEWEST) & (sizes < largest)
    return of_curve.groupby([drawn[name] for name in WHITE_BOX]).transform("all")


def panels(table: DataFrame) -> dict[Setting, list[Curve]]:
    """The curves of each data set and threat that has rows; a network has one colour in all."""
    drawn = table[table["robust"].notna()].astype({"iters": float})
    drawn = drawn[~(drawn["iters"] < 1)]  # a logarithmic axis; no attack has a budget of 0
    drawn = drawn[~_only_of_curves(drawn)]
    taken: dict[Network, int] = {}
    return {setting: curves_of(lines, taken) for setting, lines in by_setting(drawn, WHITE_BOX)}


def render(table: DataFrame, look: Look = SCREEN) -> dict[str, bytes]:
    """The figure as "png" and "svg"; empty if no line has rows.

    One panel per data set and threat, one curve per network with its 95 % interval as a band; the
    same table gives the same bytes.
    """
    drawn = panels(table)
    if not drawn:
        return {}
    ends = limits(_scores(chain.from_iterable(drawn.values())))
    return draw(drawn, partial(_panel, ends=ends), height_for(drawn.values(), look), look)
