"""A few adversarial images to look at: clean, adversarial, and their difference magnified.

Read from a stored set with NumPy alone. Free of torch.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open

from fdbench.errors import FdbenchError
from fdbench.randomness import ImageId
from fdbench.reporting.blackbox import Victim
from fdbench.reporting.setting import Setting

IMAGES, ATTACKERS = 4, 5  # of one picture in a report: what can still be looked at
_CELL = 1.5  # inches of an image
_GAP, _CAPTION, _HEAD = 0.05, 0.3, 0.55  # inches beside it, under it, and over all of them
_DPI = 130
_SMALL = 100  # pixels up to which images are enlarged pixel by pixel, not smoothed
_WRONG, _INK = "#C1121F", "#222222"
_STYLE: Any = {"font.family": "DejaVu Sans", "font.size": 9.5, "text.color": _INK}

Pixels = UInt8[np.ndarray, "n 3 H W"]  # RGB, 0 .. 255


@dataclass(frozen=True)
class Examples:
    """Some images of a set, and what one network says of them."""

    ids: tuple[ImageId, ...]
    clean: Pixels
    adv: Mapping[str, Pixels]  # by attacker
    labels: tuple[int, ...]
    predictions: Mapping[str, tuple[int, ...]]  # by attacker, and "clean"


def magnified(adv: Pixels, clean: Pixels, eps: float) -> Float[np.ndarray, "n 3 H W"]:
    """(adv - x) / (2 eps) + 0.5: grey where nothing moved, black and white at the ball's faces."""
    moved = (adv.astype(float) - clean.astype(float)) / 255
    return np.clip(moved / (2 * eps) + 0.5, 0, 1)


def _caption(label: int, says: int, names: Sequence[str]) -> tuple[str, str]:
    """What the network says, and in what colour."""
    name = names[says] if names else str(says)
    return (name, _INK) if says == label else (f"\N{MULTIPLICATION X} {name}", _WRONG)


def _show(axes: Any, image: np.ndarray, text: str = "", colour: str = _INK) -> None:
    """`image` is (3, H, W): uint8, or floats in [0, 1]."""
    how = "nearest" if image.shape[-1] <= _SMALL else "antialiased"
    axes.imshow(image.transpose(1, 2, 0), interpolation=how)
    axes.set_xlabel(text, color=colour, labelpad=2)


def _grid(figure: Any, rows: int, attackers: Sequence[str]) -> Any:
    """Axes for the images: a column for the clean ones, two for each attacker."""
    grid = figure.subplots(rows, 1 + 2 * len(attackers), squeeze=False)
    for axes in grid.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    heads = ["clean", *(text for name in attackers for text in (name, "difference"))]
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
) -> Any:
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
            said, colour = _caption(labels[i], predictions["clean"][i], names)
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


def _index(folder: Path) -> dict[tuple[str, ImageId], str]:
    """The shard of each (attacker, image) of a set, by its index; a torn last line is left out."""
    found: dict[tuple[str, ImageId], str] = {}
    for path in sorted(folder.glob("index-*.jsonl")):
        text = path.read_text()
        for line in text[: text.rfind("\n") + 1].splitlines():
            try:
                entry = json.loads(line)
                for image in entry["ids"]:
                    found.setdefault((entry["attacker"], image), entry["shard"])
            except (ValueError, TypeError, KeyError) as reason:
                raise FdbenchError(f"{path} is not a set's index: {reason!r}.") from reason
    return found


def _stored(path: Path, reading: str, image: ImageId) -> Pixels:
    """One image of one reading of a shard, (1, 3, H, W); nothing else of it is read."""
    try:
        with safe_open(path, framework="numpy") as shard:
            place = json.loads(shard.metadata()["ids"]).index(image)
            return shard.get_slice(reading)[place : place + 1]
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as reason:
        raise FdbenchError(f"{path} does not hold {reading} of image {image}: {reason}") from reason


@cache
def _holds(path: Path, reading: str) -> bool:
    """Whether the shard is on this disk and has images of that reading."""
    if not path.is_file():
        return False
    with safe_open(path, framework="numpy") as shard:
        return reading in list(shard.keys())


def _telling(one: Victim, places: Sequence[int]) -> list[int]:
    """Rows from the image that fewest attackers survive on to the one that most do, evenly."""
    order = sorted(places, key=lambda place: int(one.survived[place].sum()))
    count = min(IMAGES, len(order))
    return [order[round(i * (len(order) - 1) / max(count - 1, 1))] for i in range(count)]


def examples(one: Victim, folder: Path) -> Examples | None:
    """IMAGES of the set in `folder` under its strongest attackers against this network.

    The images run from those that most attackers break to those that none does, of those that the
    network gets right when clean, where there are any. None where the set
    or its shards are not on this disk. Raises FdbenchError for files that are not a set's.
    """
    index = _index(folder)
    attackers = [one.attackers[place] for place in one.by_strength[:ATTACKERS]]

    def place_of(reading: str, attacker: str, image: ImageId) -> Path:
        shard = index.get((reading, image)) or index.get((attacker, image))
        return folder / "adv" / (shard or "absent")

    def here(image: ImageId) -> bool:
        return all(
            _holds(place_of(reading, attacker, image), reading)
            for attacker in attackers
            for reading in (attacker, "clean")
        )

    places = [place for place, row in enumerate(one.rows) if here(row["image"])]
    if not places or not attackers:
        return None
    places = [place for place in places if one.clean[place]] or places
    rows = [one.rows[place] for place in _telling(one, places)]

    def read(attacker: str, reading: str) -> Pixels:
        ids = [row["image"] for row in rows]
        return np.concatenate([_stored(place_of(reading, attacker, i), reading, i) for i in ids])

    said = {name: tuple(row["pred"][name] for row in rows) for name in attackers}
    return Examples(
        ids=tuple(row["image"] for row in rows),
        clean=read(attackers[0], "clean"),
        adv={attacker: read(attacker, attacker) for attacker in attackers},
        labels=tuple(row["label"] for row in rows),
        predictions={**said, "clean": tuple(row["clean"] for row in rows)},
    )


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
    said = shown.predictions
    figure = pictures(shown.clean, shown.adv, shown.labels, said, spec.eps, title=title)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()


def render(victims: Sequence[Victim], results: Path) -> dict[str, bytes]:
    """`blackbox-examples.png` (with several sets, one each) of the sets that are on this disk.

    Shown is what the network says that most images survive on, all attackers counted.
    """
    of_set: dict[str, Victim] = {}
    for one in sorted((one for one in victims if one.rows), key=_holds_out):
        of_set[Setting.of(one.run).set] = one
    files = {}
    for name, one in sorted(of_set.items()):
        if shown := examples(one, results / "sets" / name):
            ending = f"-{name}" if len(of_set) > 1 else ""
            files[f"blackbox-examples{ending}.png"] = _png(one, shown)
    return files
