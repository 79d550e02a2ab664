"""Feature maps beside their images, and how far an attack moves features from stage to stage.

Plain arrays in, figures out; matplotlib is imported only when something is drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from pandas import DataFrame

from fdbench.reporting.figures.panels import (
    COLOURS,
    DASHES,
    HEIGHT,
    MARKERS,
    STYLE,
    Axes,
    Figure,
    Label,
    as_bytes,
    frame,
    label_curves,
    shortened,
)

Maps = Float[np.ndarray, "images h w"]
Pixels = Float[np.ndarray, "images height width 3"]
_CELL = 1.35  # inches of a picture
QUANTILES = ("quartile_1", "median", "quartile_3")
_FAINT = {"ls": (0, (1, 4)), "lw": 0.7, "alpha": 0.7}  # a leader line is no measurement
_MEASURE = "|f(adv) - f(x)| / |f(x)|, median and quartiles"
_CAUTION = "levels of different architectures are hard to compare"


@dataclass(frozen=True, eq=False)
class Shown:
    """Some images of one network: `maps` by place, clean and adversarial, all of one channel."""

    model: str
    channel: int
    images: Pixels
    adv: Pixels
    answers: Sequence[tuple[str, str]]  # for each image: when clean, and under attack
    maps: Mapping[str, tuple[Maps, Maps]]


def _picture(axes: Axes, image: np.ndarray, title: str, below: str = "", **style: Any) -> None:
    axes.imshow(image, interpolation="nearest", **style)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=8.5, pad=3)
    axes.set_xlabel(below, fontsize=8.5, labelpad=2)


def _row(row: Sequence[Axes], one: Shown, place: int, heads: bool) -> None:
    """An image, its twin, and the maps of both on one scale of colours for each place."""
    clean, attacked = one.answers[place]
    _picture(row[0], one.images[place], "image" if heads else "", clean)
    _picture(row[1], one.adv[place], "adversarial" if heads else "", attacked)
    row[0].set_ylabel(shortened(one.model), fontsize=9)
    for i, (name, (calm, moved)) in enumerate(one.maps.items()):
        low, high = (end(calm[place].flat) for end in (min, max))
        for k, (maps, what) in enumerate(((calm, "clean"), (moved, "adversarial"))):
            head = f"{name},\n{what}" if heads else ""
            _picture(row[2 + 2 * i + k], maps[place], head, cmap="magma", vmin=low, vmax=high)


def maps_figure(networks: Sequence[Shown], title: str) -> dict[str, bytes]:
    """The paper's Figures 1 to 3 as "png" and "svg": for each image a row for each network."""
    import matplotlib
    from matplotlib.figure import Figure

    count, most = len(networks[0].images), max(len(one.maps) for one in networks)
    down, across = count * len(networks), 2 + 2 * most
    with matplotlib.rc_context(STYLE):
        figure = Figure((across * _CELL, down * (_CELL + 0.25) + 0.8), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False)
        for place in range(count):
            for k, one in enumerate(networks):
                row = list(grid[place * len(networks) + k])
                _row(row, one, place, heads=place == 0)
                for axes in row[2 + 2 * len(one.maps) :]:
                    axes.set_visible(False)
        figure.suptitle(title, fontsize=9.5, x=0.01, ha="left")
        return _files(figure)


def _files(figure: Figure) -> dict[str, bytes]:
    return {kind: as_bytes(figure, kind) for kind in ("png", "svg")}


def _curve(axes: Axes, lines: DataFrame, xs: Sequence[float], i: int, of: str) -> Label:
    """The median over images with its quartiles; noise of the same size is dashed."""
    attack = of == "attack"
    colour, dash = COLOURS[i % len(COLOURS)], DASHES[0 if attack else 1]
    low, middle, high = (lines[name].to_numpy(float) for name in QUANTILES)
    axes.fill_between(xs, low, high, color=colour, alpha=0.15 if attack else 0.07, lw=0)
    axes.plot(xs, middle, color=colour, ls=dash, marker=MARKERS[i % len(MARKERS)], ms=4.5, lw=1.6)
    model = str(lines["model"].iloc[0])
    return Label(model if attack else f"{model}, noise", (xs[-1], middle[-1]), colour, _FAINT)


def distance_figure(table: DataFrame, places: Sequence[str], title: str) -> dict[str, bytes]:
    """How far images' features move, place by place, as "png" and "svg".

    `table` has a line for each model, place and `of` ("attack" or "noise").
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure((7.6, HEIGHT + 1.1), layout="constrained")
        axes, labels = figure.subplots(), []
        at = {name: float(i) for i, name in enumerate(places)}
        for i, model in enumerate(table["model"].unique()):
            for of in ("attack", "noise"):
                lines = table[(table["model"] == model) & (table["of"] == of)]
                labels.append(_curve(axes, lines, [at[name] for name in lines["place"]], i, of))
        axes.set_xticks(list(at.values()), [name.replace(" denoised", "\ndenoised") for name in at])
        frame(axes, (0.0, 1.08 * float(table["quartile_3"].max())), _MEASURE)
        axes.set_title(f"{title}\n{_CAUTION}", loc="left", fontsize=9.5)
        label_curves(axes, labels, HEIGHT)
        return _files(figure)
