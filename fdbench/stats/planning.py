"""How many images, and how many trainings, it takes to tell a difference."""

from math import ceil, sqrt
from statistics import NormalDist

from scipy.stats import t

from fdbench.stats.intervals import LEVEL

POWER = 0.8  # the share of experiments that find the difference, if it is there
_MANY = 10_000  # trainings: more than anyone makes


def _z(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def images_needed(
    disagreement: float, difference: float, level: float = LEVEL, power: float = POWER
) -> int:
    """How many images McNemar's test needs to find a difference of accuracies.

    Source: Connor 1987, Biometrics 43:207, from the share of images on which the two networks
    disagree. Where that is smaller than the difference, which can't be, it is taken to be it.
    """
    if not 0 < difference <= 1:
        raise ValueError(f"{difference} is not a difference of accuracies")
    share = max(disagreement, difference)
    spread = _z((1 + level) / 2) * sqrt(share) + _z(power) * sqrt(share - difference**2)
    return ceil((spread / difference) ** 2)


def detectable(disagreement: float, n: int, level: float = LEVEL, power: float = POWER) -> float:
    """The smallest difference that `n` images tell: the inverse of `images_needed`; 1 at most."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        enough = images_needed(disagreement, middle, level, power) <= n
        low, high = (low, middle) if enough else (middle, high)
    return high


def seeds_needed(
    spread: float, difference: float, level: float = LEVEL, power: float = POWER
) -> int:
    """How many trainings of each of two recipes a t-test needs to find a difference of means.

    Args:
        spread: the standard deviation over trainings, in the unit of `difference`.
    """
    if not difference > 0:
        raise ValueError(f"{difference} is no difference")
    for seeds in range(2, _MANY):
        freedom = 2 * seeds - 2
        reach = t.ppf((1 + level) / 2, freedom) + t.ppf(power, freedom)
        if 2 * (spread * reach / difference) ** 2 <= seeds:
            return seeds
    return _MANY
