"""The interval of a proportion."""

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

LEVEL = 0.95  # of every interval in every table


class Interval(NamedTuple):
    """A confidence interval, in the unit of the estimate."""

    low: float
    high: float


def wilson(k: int, n: int, level: float = LEVEL) -> Interval:
    """The score interval of a proportion k / n (Wilson 1927); (0, 1) where n is 0.

    Stays in [0, 1] and, unlike the usual +-1.96 standard errors, keeps its coverage near 0 and 1,
    where robust accuracies often are.
    """
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a proportion")
    if n == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    p, shrink = k / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / shrink
    half = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    low = 0.0 if k == 0 else middle - half
    high = 1.0 if k == n else middle + half
    return Interval(low, high)
