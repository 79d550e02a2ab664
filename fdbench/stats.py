"""Confidence intervals of proportions, and paired comparisons of two networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from scipy.stats import beta, binom

Answers = Sequence[bool] | np.ndarray  # whether a network is right on each image
LEVEL = 0.95  # of every interval in every table


class Interval(NamedTuple):
    """A confidence interval, in the unit of the estimate."""

    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Two networks on the same `n` images: `difference` is the first's accuracy less the second's.

    `p` is McNemar's exact two-sided p-value for equal accuracy.
    """

    n: int
    only_first: int
    only_second: int
    difference: float
    interval: Interval
    p: float


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


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of such a split if both sides are equally likely.

    Source: McNemar 1947, with the binomial in place of the chi-square.
    """
    n, few = only_first + only_second, min(only_first, only_second)
    if 2 * few == n:
        return 1.0
    return min(1.0, float(binom.cdf(few, n, 0.5) + binom.sf(n - few - 1, n, 0.5)))


def exceeds(k: int, n: int, rate: float) -> float:
    """The exact p-value of `k` or more of `n`, if each comes with a probability of `rate`."""
    return float(binom.sf(k - 1, n, rate))


def visible(n: int, rate: float, level: float, power: float) -> float:
    """The smallest true share that `exceeds` finds among `n` with this power, at this level.

    1 where even n of n would not be found. From P(k or more of n) = I_share(k, n - k + 1), where k
    is the fewest that it finds and I the distribution of a beta variable.
    """
    fewest = next((k for k in range(1, n + 1) if exceeds(k, n, rate) < level), None)
    return 1.0 if fewest is None else float(beta.ppf(power, fewest, n - fewest + 1))


def _correlation(both: int, first: int, second: int, neither: int) -> float:
    """phi of the 2 x 2 table, moved towards zero by n / 2 where positive (Newcombe 1998)."""
    n = both + first + second + neither
    square = (both + first) * (second + neither) * (both + second) * (first + neither)
    if square == 0:
        return 0.0
    cross = both * neither - first * second
    corrected = cross if cross < 0 else max(cross - n / 2, 0)
    return float(corrected / sqrt(square))


def paired_interval(
    both: int, first: int, second: int, neither: int, level: float = LEVEL
) -> Interval:
    """The interval of the difference of two paired proportions, (first - second) / n.

    `first` and `second` count the images only that one got right. Source: Newcombe 1998, Statistics
    in Medicine 17:2635, method 10: the two Wilson intervals, combined by the correlation.
    """
    n = both + first + second + neither
    if n == 0:
        return Interval(-1.0, 1.0)
    p1, p2 = (both + first) / n, (both + second) / n
    one, two = wilson(both + first, n, level), wilson(both + second, n, level)
    phi = _correlation(both, first, second, neither)

    def reach(a: float, b: float) -> float:
        return sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    down = reach(p1 - one.low, two.high - p2)
    up = reach(one.high - p1, p2 - two.low)
    return Interval(p1 - p2 - down, p1 - p2 + up)


def paired(first: Answers, second: Answers, level: float = LEVEL) -> Paired:
    """Compares two networks, image by image; the sequences are aligned on the images."""
    a, b = np.asarray(first, bool), np.asarray(second, bool)
    if len(a) != len(b):
        raise ValueError(f"one sequence is shorter: {len(a)} and {len(b)} images")
    n, both = len(a), int(np.count_nonzero(a & b))
    one, two = int(np.count_nonzero(a)) - both, int(np.count_nonzero(b)) - both
    neither = n - both - one - two
    return Paired(
        n=n,
        only_first=one,
        only_second=two,
        difference=(one - two) / n if n else 0.0,
        interval=paired_interval(both, one, two, neither, level),
        p=mcnemar(one, two),
    )
