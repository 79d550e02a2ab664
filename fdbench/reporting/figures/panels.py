"""Shared by the two curve figures: one panel per setting, with one line per network.

Colours, intervals as bands, hollow published points, labels at the right, and the files.
matplotlib is imported only when something is drawn.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pandas import DataFrame, Series

from fdbench.printable import shown
from fdbench.reporting.setting import Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
else:
    Axes = Figure = Any  # what the tests' type checker sees

Limits = tuple[float, float]  # of an accuracy axis, in percent
Style = dict[str, Any]  # keyword arguments of matplotlib
Dash = str | tuple[int, tuple[int | float, ...]]

# Okabe and Ito 2008, "Color universal design", without its yellow, too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES: tuple[Dash, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # one a colour: a figure is read in grey too
FAINT = "#B8B8B8"
_INK, _GRID, _EDGE = "#222222", "#E6E6E6", "#888888"
STYLE: Any = {  # mypy would have each key as a literal
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 10,
    "text.parse_math": False,  # a name may have dollars
    "axes.edgecolor": _EDGE,
    "axes.labelcolor": _INK,
    "axes.titlesize": 10.5,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "text.color": _INK,
    "svg.hashsalt": "fdbench",  # else the ids in the SVG are random
    "svg.fonttype": "path",
}
_HOLLOW: Style = {"ls": "none", "marker": "D", "ms": 7, "mfc": "none", "mew": 1.3, "zorder": 4}
HEIGHT = 3.2  # inches of a panel's axes, unless its labels need more
_AROUND = 1.1  # inches of a panel's height that title and axis take
_BESIDE = 1.05  # where labels begin, in widths of the axes
_LABEL = 0.19  # inches from one label to the next
_MARGIN = 3  # points of accuracy left free above and below
_LONGEST = 48  # characters of a label
_FEW = 5  # from this many lines on, bands are paler, since they overlap
TOO_MANY = 10  # of more, only the last point has its interval: bands would be one grey
_DPI = 160


@dataclass(frozen=True)
class Look:
    """Sizes of a figure: a panel's width with its labels, its axes' height, and its text."""

    width: float = 7.2  # inches
    height: float = HEIGHT
    points: float = 10.0  # of text
    across: int = 4  # panels beside each other, at most
    title: int = 62  # characters of a title's line: as wide as a panel


SCREEN = Look()
# CVPR's template: columns of 3.25 inches, 6.875 inches of text, captions of 9 points.
PAPER = Look(width=3.4375, height=1.9, points=7.0, across=2, title=46)


@dataclass(frozen=True)
class Curve:
    """One network's line in a panel; `points` are a table's lines, in order."""

    label: str
    points: DataFrame
    colour: str
    marker: str
    dash: Dash = "-"


@dataclass(frozen=True)
class Label:
    """A label beside the axes, and the end of its leader line."""

    text: str
    at: tuple[float, float]
    colour: str
    line: Style = field(default_factory=dict)


def spread(wanted: Sequence[float], gap: float, ends: Limits | None = None) -> list[float]:
    """The places nearest to `wanted`, in their order, with at least `gap` between neighbours.

    Least squares: blocks of places that would overlap are pooled around their mean. They keep
    within `ends` if there is room: the nearest such places are the pooled ones, cut off there.
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
    if ends and (room := ends[1] - (len(wanted) - 1) * gap) >= ends[0]:
        levels = [min(max(level, ends[0]), room) for level in levels]
    ranked = enumerate(zip(order, levels, strict=True))
    places = {i: level + rank * gap for rank, (i, level) in ranked}
    return [places[i] for i in range(len(wanted))]


def band(axes: Axes, x: Series, curve: Curve, name: str, curves: int) -> None:
    """The interval of a score as a band, paler where there are many `curves`."""
    low, high = (curve.points[f"{name}_{end}"].astype(float) for end in ("low", "high"))
    if curves > TOO_MANY:
        axes.plot([x.iloc[-1]] * 2, [low.iloc[-1], high.iloc[-1]], color=curve.colour, lw=0.7)
        return
    alpha = 0.13 if curves < _FEW else 0.06
    axes.fill_between(x, low, high, color=curve.colour, alpha=alpha, lw=0)


def hollow(axes: Axes, x: Iterable[float], y: Iterable[float], colour: str) -> None:
    """Draws published points."""
    axes.plot(list(x), list(y), color=colour, **_HOLLOW)


def limits(accuracies: Iterable[float]) -> Limits:
    """The accuracy axis of all panels of a figure, NaN aside: panels can be compared by eye."""
    finite = [value for value in accuracies if not math.isnan(value)]
    return max(0.0, min(finite) - _MARGIN), min(100.0, max(finite) + _MARGIN)


def frame(axes: Axes, ends: Limits, label: str) -> None:
    """Sets the accuracy axis, and draws a grid behind the lines."""
    axes.set_ylim(*ends)
    axes.grid(axis="y", color=_GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel(label)


def shortened(text: str) -> str:
    """A label that leaves room for the axes: of a longer one its beginning and its end."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST * 2 // 3]}\N{HORIZONTAL ELLIPSIS}{text[-(_LONGEST // 3) :]}"


def label_curves(axes: Axes, labels: Sequence[Label], height: float) -> None:
    """Draws labels at the right, outside axes of `height` inches, each with its leader line.

    Lines are one collection in the data's units: an arrow for each takes most of a figure's time.
    """
    from matplotlib.collections import LineCollection

    low, high = axes.get_ylim()
    gap = _LABEL * _text_size() / SCREEN.points
    places = spread([label.at[1] for label in labels], (high - low) * gap / height, (low, high))
    begin = axes.transData.inverted().transform(axes.transAxes.transform((_BESIDE - 0.01, 0)))[0]
    for label, place in zip(labels, places, strict=True):
        text = shortened(label.text)
        axes.text(_BESIDE, place, text, va="center", transform=axes.get_yaxis_transform())
    styles: list[Style] = [{"ls": "-", "lw": 0.9, "alpha": 1.0, **label.line} for label in labels]
    lines = LineCollection(
        [[(begin, place), label.at] for label, place in zip(labels, places, strict=True)],
        colors=[label.colour for label in labels],
        linestyles=[style["ls"] for style in styles],
        linewidths=[style["lw"] for style in styles],
        alpha=[style["alpha"] for style in styles],
        capstyle="round",
        clip_on=False,
    )
    lines.set_in_layout(False)
    axes.add_collection(lines, autolim=False)


def _text_size() -> float:
    """Of the figure that is being drawn, in points."""
    import matplotlib

    return float(matplotlib.rcParams["font.size"])


def height_for(panels: Iterable[Sequence[Curve]], look: Look = SCREEN) -> float:
    """The axes' height in inches that leaves room for every panel's labels."""
    label = _LABEL * look.points / SCREEN.points
    return max(look.height, 1.2 * label * max(map(len, panels)))


def draw(
    panels: Mapping[Setting, list[Curve]],
    panel: Callable[[Axes, list[Curve], float], None],
    height: float,
    look: Look = SCREEN,
) -> dict[str, bytes]:
    """The figure as "png" and "svg": `panel` draws each setting's curves into axes of `height`."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = min(look.across, math.ceil(math.sqrt(len(panels))))
    down = math.ceil(len(panels) / across)
    style = {**STYLE, "font.size": look.points, "axes.titlesize": look.points + 0.5}
    with matplotlib.rc_context(style):
        around = _AROUND * look.points / SCREEN.points
        size = (look.width * across, (height + around) * down)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes, (setting, curves) in zip(grid[: len(panels)], panels.items(), strict=True):
            panel(axes, curves, height)
            axes.set_title(textwrap.fill(setting.title, look.title), loc="left")
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        return {kind: as_bytes(figure, kind) for kind in ("png", "svg")}


def as_bytes(figure: Figure, kind: str, dpi: int = _DPI) -> bytes:
    """The figure as a file of that kind; the same figure gives the same bytes."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(shown(text.get_text(), keep="\n"))  # an SVG repeats it in a comment
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as a box
        figure.savefig(file, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else {})
    return file.getvalue()
