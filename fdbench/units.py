"""Perturbation sizes as people type and print them: `8/255`, `8px`, `0.0314` (contract C2).

Free of torch, so the command line can read a size without loading it.
"""

import math
import re
from typing import SupportsFloat

from fdbench.errors import BadValue

_NUMBER = r"((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
_FORMS = re.compile(rf"{_NUMBER}(?:\s*(px)|\s*/\s*{_NUMBER})?")

# The usual eps on small images (32 px, CIFAR-10) and on large ones (224 px, ImageNet): RobustBench
# (Croce et al. 2021) for linf and l2 at 32 px and linf at 224, Salman et al. 2020 for l2 at 224,
# Croce and Hein 2021 and 2022 for l1, Sparse-RS (Croce et al. 2022) for l0: 24 and 150 pixels of
# three values each.
USUAL: dict[str, tuple[float, float]] = {
    "linf": (8 / 255, 4 / 255),
    "l2": (0.5, 3.0),
    "l1": (12.0, 255.0),
    "l0": (72.0, 450.0),
}
_MEANING = {
    "l2": "the length of the whole perturbation",
    "l1": "the sum over all values of the perturbation",
    "l0": "the number of values that change, three per pixel",
}
# Below this a whole number of pixels (N/255, also if rounded to four decimals) is meant for linf:
# no number of one or two decimals is one. 36/255 and larger ones, which are used in l2 (certified
# radii; Trockman and Kolter 2021), are above.
_PIXEL_SIZES = 0.13
_ROUNDED = 255 * 0.5e-4


def usual_sizes(norm: str) -> str:
    """`Usual: --norm l2 --eps 0.5 at 32 px, 3 at 224 px.`; "" for a norm that is not built in."""
    if norm not in USUAL:
        return ""
    small, large = (print_size(size, norm) for size in USUAL[norm])
    return f"Usual: --norm {norm} --eps {small} at 32 px, {large} at 224 px."


def check_size(given: object, norm: str, option: str = "eps", typed: str = "") -> None:
    """Raises BadValue for a size, in image units, that nobody means in this norm.

    That is anything but a positive finite number; in linf, one above 1; an eps of a few pixels
    (8/255) in l2, l1 or l0; and an eps in l0 that is not a whole number. Step sizes of l2 are often
    given in pixels (15/255 in Rice et al. 2020): allowed. `typed` is the text the size came from.
    """
    size = float(given) if isinstance(given, SupportsFloat) else math.nan
    if not (math.isfinite(size) and size > 0):
        raise BadValue(
            f"--{option} must be a number, greater than zero and finite.\n"
            f"{_allowed(typed or str(given))}"
        )
    shown = typed or f"{size:.4g}"
    if norm == "linf" and size > 1:
        bare = shown.replace(".", "", 1).isdecimal() and size <= 255
        meant = f"Did you mean --{option} {shown}/255?" if bare else "Usual: 8/255."
        raise BadValue(
            f"--{option} {shown} is more than the whole range of a pixel, [0, 1].\n{meant}"
        )
    if option == "eps" and norm in _MEANING:
        _check_whole_image(size, norm, shown)


def _check_whole_image(size: float, norm: str, shown: str) -> None:
    """Refuses an eps of one value for a norm of the whole perturbation."""
    count = round(255 * size)
    in_pixels = size < _PIXEL_SIZES and count >= 1 and abs(255 * size - count) <= _ROUNDED
    typed_so = "px" in shown or (shown.endswith("255") and "/" in shown and size < _PIXEL_SIZES)
    if in_pixels or typed_so:
        same = "" if typed_so else f" ({count}/255)"
        wrong = f"is a size of one value{same}, as in linf"
    elif norm == "l0" and size != round(size):
        wrong = "is not a whole number"
    else:
        return
    raise BadValue(f"--eps {shown} {wrong}; in {norm} it is {_MEANING[norm]}.\n{usual_sizes(norm)}")


def _allowed(text: str) -> str:
    return f"Allowed: a fraction (8/255), pixels (8px) or image units (0.0314); got {text!r}."


def parse_size(text: str, norm: str, option: str = "eps") -> float:
    """A size in image units, where a pixel lies in [0, 1].

    Raises BadValue for anything but a number in one of the three forms, and for a size that
    `check_size` refuses.
    """
    match = _FORMS.fullmatch(text.strip())
    if match is None:
        raise BadValue(f"--{option} {text!r} is not a size.\n{_allowed(text)}")
    number, in_pixels, below = match.groups()
    value, bottom = float(number), float(below or 1)
    if bottom == 0:
        raise BadValue(f"--{option} {text!r} divides by zero.\n{_allowed(text)}")
    size = value / 255 if in_pixels else value / bottom
    check_size(size, norm, option, text.strip())
    return size


def pixels(size: float) -> str:
    """`8/255` for 8 / 255: how tables and names print a size."""
    return f"{round(255 * size, 4):g}/255"


def print_size(size: float, norm: str) -> str:
    """linf sizes as N/255; sizes of other norms, which are not about one value, as numbers."""
    return pixels(size) if norm == "linf" else f"{size:.4g}"
