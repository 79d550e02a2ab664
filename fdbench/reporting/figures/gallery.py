"""A few adversarial images to look at: clean, adversarial, and their difference magnified.

Free of torch; matplotlib is imported only when something is drawn.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from fdbench.console import warn
from fdbench.errors import FdbenchError
from fdbench.reporting.all_or_nothing import Victim
from fdbench.reporting.figures.examples import Examples, examples
from fdbench.reporting.figures.panels import Axes, Figure, as_bytes
from fdbench.reporting.setting import Setting
from fdbench.store import CLEAN, Workspace

_CELL = 1.5  # inches of an image
_GAP, _CAPTION, _HEAD = 0.05, 0.3, 0.55  # inches beside it, under it, and over all of them
_DPI = 130
_SMALL = 100  # images up to this width are enlarged pixel by pixel, not smoothed
_WRONG, _INK = "#C1121F", "#222222"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": _INK,
    "text.parse_math": False,  # a class or an attacker may be named with dollars
}

Names = Sequence[str]  # of the classes


def magnified(
    adv: UInt8[np.ndarray, "*n 3 H W"], clean: UInt8[np.ndarray, "*n 3 H W"], eps: float
) -> Float[np.ndarray, "*n 3 H W"]:
    """(adv - x) / (2 eps) + 0.5: grey where nothing moved, black and white at the ball's faces."""
    moved = (adv.astype(float) - clean.astype(float)) / 255
    return np.clip(moved / (2 * eps) + 0.5, 0, 1)


def _name(label: int, names: Names) -> str:
    return names[label] if names else str(label)


def _caption(label: int, answer: int, names: Names) -> tuple[str, str]:
    """The text below an image, its predicted class, and the text's colour."""
    name = _name(answer, names)
    return (name, _INK) if answer == label else (f"\N{MULTIPLICATION X} {name}", _WRONG)


def _show(axes: Axes, image: np.ndarray, text: str = "", colour: str = _INK) -> None:
    """`image` is (3, H, W): uint8, or floats in [0, 1]."""
    interpolation = "nearest" if image.shape[-1] <= _SMALL else "antialiased"
    axes.imshow(image.transpose(1, 2, 0), interpolation=interpolation)
    axes.set_xlabel(text, color=colour, labelpad=2)


def _grid(figure: Figure, rows: int, attackers: Sequence[str]) -> np.ndarray:
    """Axes for the images: a column for the clean ones, two for each attacker."""
    grid = figure.subplots(rows, 1 + 2 * len(attackers), squeeze=False)
    for axes in grid.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    heads = [CLEAN, *(text for name in attackers for text in (name, "difference"))]
    for axes, text in zip(grid[0], heads, strict=True):
        bold = "normal" if text == "difference" else "bold"
        axes.set_title(text, fontsize=10, fontweight=bold, pad=4)
    return grid


def _draw_row(row: np.ndarray, shown: Examples, place: int, eps: float, names: Names) -> None:
    """One image: clean with its label, then each adversary and its difference."""
    label, clean = shown.labels[place], shown.clean[place]
    answer, colour = _caption(label, shown.predictions[CLEAN][place], names)
    _show(row[0], clean, f"label {_name(label, names)}, says {answer}", colour)
    for i, (attacker, images) in enumerate(shown.adv.items()):
        caption = _caption(label, shown.predictions[attacker][place], names)
        _show(row[1 + 2 * i], images[place], *caption)
        _show(row[2 + 2 * i], magnified(images[place], clean, eps))


def pictures(shown: Examples, eps: float, *, names: Names = (), title: str = "") -> Figure:
    """A matplotlib Figure: a row an image: clean, then each adversary and its difference.

    Under each adversary is its predicted class, red and with a cross if wrong; under the clean
    image its label too. `eps` is in image units; `names` are the classes', by default their
    numbers.
    """
    import matplotlib
    from matplotlib.figure import Figure

    rows, columns = len(shown.clean), 1 + 2 * len(shown.adv)
    across, down = columns * (_CELL + _GAP), rows * (_CELL + _CAPTION) + _HEAD
    left, top = 0.05 / across, 1 - 0.08 / down
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(across, down), dpi=_DPI)
        figure.subplots_adjust(
            0, _CAPTION / down, 1, 1 - _HEAD / down, _GAP / _CELL, _CAPTION / _CELL
        )
        figure.suptitle(title, fontsize=10.5, ha="left", va="top", x=left, y=top)
        for place, row in enumerate(_grid(figure, rows, list(shown.adv))):
            _draw_row(row, shown, place, eps, names)
    return figure


def _all_or_nothing(one: Victim) -> float:
    """The network's all-or-nothing accuracy."""
    return float(one.survives(one.by_strength).mean())


def _png(one: Victim, shown: Examples) -> bytes:
    spec = one.run.info.attack
    left_out = len(one.attackers) - len(shown.adv)
    more = f", {left_out} weaker attackers not shown" if left_out else ""
    title = (
        f"{one.run.info.model.name}, {one.run.info.data.name}, linf {spec.eps_text}; rows from the "
        f"image that most attackers break to the one that fewest break{more}. Difference: "
        "magnified by 1 / (2 eps), grey where nothing moved"
    )
    return as_bytes(pictures(shown, spec.eps, title=title), "png", _DPI)


def shown_victims(
    victims: Sequence[Victim], results: Path, say: Callable[[str], None] = warn
) -> Iterator[tuple[str, Victim, Examples]]:
    """Each set that is on this disk, the network to show on it, and its images.

    That network is right on most images under all attackers. `say` is told of unreadable sets.
    """
    of_set: dict[str, Victim] = {}
    for one in sorted((one for one in victims if len(one.places)), key=_all_or_nothing):
        of_set[Setting.of(one.run).set] = one
    for name, one in sorted(of_set.items()):
        try:
            shown = examples(one, Workspace(results).adversarial_set(name))
        except FdbenchError as reason:
            say(f"no picture of the set {name}: {reason.message}")
            continue
        if shown:
            yield name, one, shown


def render(victims: Sequence[Victim], results: Path) -> dict[str, bytes]:
    """`blackbox-examples.png` (with several sets, one each) of the sets that are on this disk."""
    several = len({Setting.of(one.run).set for one in victims if len(one.places)}) > 1
    return {
        f"blackbox-examples{f'-{name}' if several else ''}.png": _png(one, shown)
        for name, one, shown in shown_victims(victims, results)
    }
