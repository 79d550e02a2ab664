"""Perturbation sizes as people type and print them: `8/255`, `8px`, `0.0314` (contract C2).

Free of torch, so the command line can read a size without loading it.
"""

import math
import re

from fdbench.errors import BadValue

_NUMBER = r"((?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
_FORMS = re.compile(rf"{_NUMBER}(?:\s*(px)|\s*/\s*{_NUMBER})?")


def parse_size(text: str, norm: str, option: str = "eps") -> float:
    """A size in image units, where a pixel lies in [0, 1].

    Raises BadValue for anything but a positive finite number in one of the three forms, and for a
    bare linf number above 1: that is nearly always a pixel count without its `/255`.
    """
    allowed = f"Allowed: a fraction (8/255), pixels (8px) or image units (0.0314); got {text!r}."
    match = _FORMS.fullmatch(text.strip())
    if match is None:
        raise BadValue(f"--{option} {text!r} is not a size.\n{allowed}")
    number, in_pixels, below = match.groups()
    value, bottom = float(number), float(below or 1)
    if bottom == 0:
        raise BadValue(f"--{option} {text!r} divides by zero.\n{allowed}")
    size = value / 255 if in_pixels else value / bottom
    if not (math.isfinite(size) and size > 0):
        raise BadValue(f"--{option} must be greater than zero and finite.\n{allowed}")
    if norm == "linf" and size > 1:
        raise BadValue(
            f"--{option} {text} is more than the whole range of a pixel, [0, 1].\n"
            f"Did you mean --{option} {text.strip()}/255?"
        )
    return size


def pixels(size: float) -> str:
    """`8/255` for 8 / 255: how tables and names print a size."""
    return f"{round(255 * size, 4):g}/255"


def print_size(size: float, norm: str) -> str:
    """linf sizes as N/255; l2 sizes, which are not about one pixel, as plain numbers."""
    return pixels(size) if norm == "linf" else f"{size:.4g}"
