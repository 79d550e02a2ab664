"""A few adversarial images to look at: clean, adversarial, and their difference magnified.

Free of torch; matplotlib is imported only when something is drawn.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fdbench.reporting.blackbox import Victim
from fdbench.reporting.figures.examples import Examples, Pixels, examples
from fdbench.reporting.figures.panels import Axes, Figure, as_bytes
from fdbench.reporting.setting import Setting
from fdbench.store import CLEAN, Workspace

_CELL = 1.5  # inches of an image
_GAP, _CAPTION, _HEAD = 0.05, 0.3, 0.55  # inches beside it, under it, and over all of them
_DPI = 130
_SMALL = 100  # pixels up to which images are enlarged pixel by pixel, not smoothed
_WRONG, _INK = "#C1121F", "#222222"
_STYLE: Any = {"font.family": "DejaVu Sans", "font.size": 9.5, "text.color": _INK}


def magnified(adv: Pixels, clean: Pixels, eps: float) -> Float[np.ndarray, "n 3 H W"]:
    """(adv - x) / (2 eps) + 0.5: grey where nothing moved, black and white at the ball's faces."""
    moved = (adv.astype(float) - clean.astype(float)) / 255
    return np.clip(moved / (2 * eps) + 0.5, 0, 1)


def _caption(label: int, says: int, names: Sequence[str]) -> tuple[str, str]:
    """What the network says, and in what colour."""
    name = names[says] if names else str(says)
    return (name, _INK) if says == label else (f"\N{MULTIPLICATION X} {name}", _WRONG)


def _show(axes: Axes, image: np.ndarray, text: str = "", colour: str = _INK) -> None:
    """`image` is (3, H, W): uint8, or floats in [0, 1]."""
    how = "nearest" if image.shape[-1] <= _SMALL else "antialiased"
    axes.imshow(image.transpose(1, 2, 0), interpolation=how)
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


def pictures(
    clean: Pixels,
    adv: Mapping[str, Pixels],
    labels: Sequence[int],
    predictions: Mapping[str, Sequence[int]],
    eps: float,
    names: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """A matplotlib Figure: a row an image: clean, then each adversary and its difference.

    Under each adversary stands what the network says, red and crossed where it is wrong; under the
    clean image its label too. `predictions` are by attacker and "clean"; `eps` is in image units;
    `names` are the classes', their numbers where there are none.
    """
    import matplotlib
    from matplotlib.figure import Figure

    columns = 1 + 2 * len(adv)
    across, down = columns * (_CELL + _GAP), len(clean) * (_CELL + _CAPTION) + _HEAD
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(across, down), dpi=_DPI)
        figure.subplots_adjust(
            0, _CAPTION / down, 1, 1 - _HEAD / down, _GAP / _CELL, _CAPTION / _CELL
        )
        figure.suptitle(
            title, fontsize=10.5, ha="left", va="top", x=0.05 / across, y=1 - 0.08 / down
        )
        for i, row in enumerate(_grid(figure, len(clean), list(adv))):
            said, colour = _caption(labels[i], predictions[CLEAN][i], names)
            label = names[labels[i]] if names else str(labels[i])
            _show(row[0], clean[i], f"label {label}, says {said}", colour)
            for place, (attacker, images) in enumerate(adv.items()):
                _show(
                    row[1 + 2 * place],
                    images[i],
                    *_caption(labels[i], predictions[attacker][i], names),
                )
                _show(row[2 + 2 * place], magnified(images[i : i + 1], clean[i : i + 1], eps)[0])
    return figure


def _holds_out(one: Victim) -> float:
    """Its all-or-nothing accuracy."""
    return float(one.survives(one.by_strength).mean())


def _png(one: Victim, shown: Examples) -> bytes:
    spec = one.run.info.attack
    left_out = len(one.attackers) - len(shown.adv)
    more = f", {left_out} weaker attackers not shown" if left_out else ""
    title = (
        f"{one.run.info.model.name}, {one.run.info.data.name}, linf {spec.eps_text}: from the "
        f"image that most attackers break to one that fewest do{more}. Difference: times 1 / (2 "
        "eps), around grey"
    )
    answers = shown.predictions
    figure = pictures(shown.clean, shown.adv, shown.labels, answers, spec.eps, title=title)
    return as_bytes(figure, "png", _DPI)


def render(victims: Sequence[Victim], results: Path) -> dict[str, bytes]:
    """`blackbox-examples.png` (with several sets, one each) of the sets that are on this disk.

    Shown is what the network says that most images survive on, all attackers counted.
    """
    of_set: dict[str, Victim] = {}
    for one in sorted((one for one in victims if one.rows), key=_holds_out):
        of_set[Setting.of(one.run).set] = one
    files = {}
    for name, one in sorted(of_set.items()):
        if shown := examples(one, Workspace(results).adversarial_set(name)):
            ending = f"-{name}" if len(of_set) > 1 else ""
            files[f"blackbox-examples{ending}.png"] = _png(one, shown)
    return files
