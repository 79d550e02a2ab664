"""Correction for several comparisons."""

from collections.abc import Sequence

import numpy as np


def corrected(p: Sequence[float], of: int | None = None) -> list[float]:
    """The p-values, corrected so that all of them together err in at most their level (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1, and none is less than a smaller one. No
    assumption about how the comparisons depend on each other.

    Args:
        of: how many comparisons were made, if these are only some of them; those not given count as
            larger, which can only enlarge the result.
    """
    values = np.asarray(p, float)
    made = len(values) if of is None else of
    if made < len(values):
        raise ValueError(f"{len(values)} p-values of only {made} comparisons")
    order = np.argsort(values, kind="stable")
    scaled = values[order] * (made - np.arange(len(values)))
    result = np.empty(len(values))
    result[order] = np.minimum(np.maximum.accumulate(scaled), 1.0) if len(values) else scaled
    return result.tolist()
