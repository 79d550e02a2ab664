"""Accuracy against iterations, as the paper's Fig. 6 and 7 draw it, from the table's lines."""

import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pandas import DataFrame

from fdbench.reporting.setting import WHITE_BOX, by_setting

_SETTINGS = ("attack", "loss", "restarts", "alpha_rule", "precision", "seed", "planned")
_SERIES = ("model", "weights", *_SETTINGS)
Network = tuple[str, str]  # its name and weights

# Okabe and Ito 2008, "Color universal design", without its yellow, too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)))
MARKERS = ("o", "s", "^")
_SHORT: Any = {"ls": (0, (1, 4)), "lw": 0.7, "alpha": 0.7}  # from the end of a shorter curve
INK, _FAINT = "#222222", "#B8B8B8"
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 10,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "svg.hashsalt": "fdbench",  # else the ids in the SVG are random
    "svg.fonttype": "path",
}
_WIDTH = 7.2  # inches of a panel with its labels
_AROUND = 1.1  # inches of a panel's height that title and axis take
LABEL = 0.19  # inches from one label to the next


@dataclass(frozen=True)
class _Series:
    """One line of a panel; `points` are its budgets, in order."""

    label: str
    points: DataFrame
    colour: str
    dash: Any
    marker: str

    @property
    def last(self) -> tuple[float, float]:
        return float(self.points["iters"].iloc[-1]), float(self.points["robust"].iloc[-1])


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """The places nearest to `wanted`, in their order, with at least `gap` between neighbours.

    Least squares: blocks of places that would overlap are pooled around their mean.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[float, int]] = []  # mean of (wanted - rank * gap), members
    for rank, i in enumerate(order):
        mean, size = wanted[i] - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, members = blocks.pop()
            mean = (mean * size + before * members) / (size + members)
            size += members
        blocks.append((mean, size))
    levels = [mean for mean, size in blocks for _ in range(size)]
    places = {i: level + rank * gap for rank, (i, level) in enumerate(zip(order, levels))}  # noqa: B905
    return [places[i] for i in range(len(wanted))]


def _labels(series: DataFrame) -> list[str]:
    """The model's name and, behind it, only what tells the lines of a panel apart."""
    told = [name for name in _SETTINGS if series[name].nunique(dropna=False) > 1]
    twice = series[["model", "weights"]].drop_duplicates()["model"].duplicated(keep=False)
    repeated = set(series["model"][twice[twice].index])
    labels = []
    for line in series.to_dict("records"):
        parts = [str(line["model"])]
        parts += [str(line["weights"])] if line["model"] in repeated else []
        parts += [f"{name.split('_')[0]} {line[name]}" for name in told]
        labels.append(", ".join(parts))
    return labels


def _series(panel: DataFrame, taken: dict[Network, int]) -> list[_Series]:
    """The lines of a panel. A network has one colour in all panels, other dashes an attack."""
    known = panel.groupby(list(_SERIES), dropna=False, sort=False)
    labels = _labels(DataFrame([key for key, _ in known], columns=list(_SERIES)))
    found, drawn = [], Counter[Network]()
    for (key, points), label in zip(known, labels, strict=True):
        network = str(key[0]), str(key[1])
        place = taken.setdefault(network, len(taken))
        turn = (place // len(COLOURS) + drawn[network]) % len(DASHES)
        drawn[network] += 1
        colour = COLOURS[place % len(COLOURS)]
        points = points.sort_values("iters").drop_duplicates("iters", keep="last")
        found.append(_Series(label, points, colour, DASHES[turn], MARKERS[turn]))
    return found


def _bar(axes: Any, at: float, line: _Series, value: str, published: str) -> None:
    """A point with its interval, and the published one, hollow, beside it."""
    row = line.points.iloc[-1]
    if not math.isnan(row[value]):
        axes.plot([at, at], [row[f"{value}_low"], row[f"{value}_high"]], color=line.colour, lw=1.2)
        axes.plot([at], [row[value]], marker=line.marker, ms=5, color=line.colour)
    if not math.isnan(row[published]):
        _hollow(axes, [at], [row[published]], line)


def _hollow(axes: Any, x: Any, y: Any, line: _Series) -> None:
    style = {"ls": "none", "marker": "D", "ms": 7, "mfc": "none", "mew": 1.3}
    axes.plot(x, y, color=line.colour, zorder=4, **style)


def _curve(axes: Any, line: _Series, shade: float) -> None:
    points = line.points
    x = points["iters"].astype(float)
    low, high = points["robust_low"].astype(float), points["robust_high"].astype(float)
    axes.fill_between(x, low, high, color=line.colour, alpha=shade, lw=0)
    axes.plot(x, points["robust"].astype(float), color=line.colour, lw=1.8, ls=line.dash)
    axes.plot(
        x, points["robust"].astype(float), ls="none", marker=line.marker, ms=5, color=line.colour
    )
    _hollow(axes, x, points["published"].astype(float), line)


def _label_lines(axes: Any, lines: Sequence[_Series], height: float) -> None:
    """Names at the right, outside the axes, each with a thin line to its curve's end.

    Where there are points and no curves, lines start at the axes' edge: they would cross points.
    Those of curves that end before others are dotted and faint, not to be taken for more of them.
    """
    low, high = axes.get_ylim()
    curves = any(len(line.points) > 1 for line in lines)
    edge, longest = axes.get_xlim()[1], max(line.last[0] for line in lines)
    places = spread([line.last[1] for line in lines], (high - low) * LABEL / height)
    for line, place in zip(lines, places, strict=True):
        axes.annotate(
            line.label,
            xy=(line.last[0] if curves else edge, line.last[1]),
            xytext=(1.05, place),
            textcoords=("axes fraction", "data"),
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": line.colour,
                "relpos": (0, 0.5),
                **(_SHORT if line.last[0] < longest else {"ls": line.dash, "lw": 0.9}),
            },
        )


def _limits(lines: Sequence[_Series]) -> tuple[float, float]:
    names = ["robust_low", "robust_high", "clean_low", "clean_high", "published", "published_clean"]
    values = [v for line in lines for v in line.points[names].to_numpy(float).ravel() if v == v]
    return max(0.0, min(values) - 3), min(100.0, max(values) + 3)


def _frame(axes: Any, budgets: Sequence[int], clean_at: float, slot: float) -> None:
    axes.set_xscale("log")
    axes.set_xticks([clean_at, *budgets], ["clean", *map(str, budgets)])
    axes.minorticks_off()
    axes.set_xlim(clean_at / slot, budgets[-1] * slot ** (1 if len(budgets) == 1 else 0.35))
    axes.axvline((clean_at * budgets[0]) ** 0.5, color=_FAINT, lw=0.8, ls=(0, (2, 3)))
    axes.grid(axis="y", color="#E6E6E6", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("accuracy, %")


def _draw(axes: Any, title: str, lines: Sequence[_Series], height: float) -> None:
    budgets = sorted({int(i) for line in lines for i in line.points["iters"]})
    # Marks of one place stand side by side in a slot: a tenth of the axis to each side.
    decades = max(math.log10(budgets[-1] / budgets[0]), 0.6)
    slot = 10 ** (0.1 * decades)
    clean_at = budgets[0] / 10 ** (0.3 * decades)
    for i, line in enumerate(lines):
        aside = slot ** (0.8 * ((2 * i + 1) / len(lines) - 1))
        _bar(axes, clean_at * aside, line, "clean", "published_clean")
        if len(budgets) > 1:
            _curve(axes, line, shade=0.13 if len(lines) < 5 else 0.06)
        else:
            _bar(axes, budgets[0] * aside, line, "robust", "published")
    _frame(axes, budgets, clean_at, slot)
    axes.set_ylim(*_limits(lines))
    axes.set_title(title, loc="left")
    published = any(
        line.points[["published", "published_clean"]].notna().any(axis=None) for line in lines
    )
    axes.set_xlabel("attack iterations" + ("   (hollow: published)" if published else ""))
    _label_lines(axes, lines, height)


def render(table: DataFrame) -> dict[str, bytes]:
    """The figure as "png" and "svg"; nothing where no line has iterations and rows.

    One panel a data set and threat, one line a network with its 95 % interval shaded; the same
    table gives the same bytes.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = table[table["iters"].notna() & table["robust"].notna()]
    if drawn.empty:
        return {}
    taken: dict[Network, int] = {}
    panels = {setting: _series(part, taken) for setting, part in by_setting(drawn, WHITE_BOX)}
    across = 1 if len(panels) == 1 else 2
    down = math.ceil(len(panels) / across)
    height = max(3.2, 2.2 * LABEL * max(map(len, panels.values())))
    with matplotlib.rc_context(STYLE):
        size = (_WIDTH * across, (height + _AROUND) * down)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes, (setting, lines) in zip(grid, panels.items(), strict=False):
            _draw(axes, setting.title, lines, height)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        return {"png": as_bytes(figure, "png"), "svg": as_bytes(figure, "svg")}


def as_bytes(figure: Any, kind: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else {})
    return file.getvalue()
