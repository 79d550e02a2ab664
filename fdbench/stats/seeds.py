"""Several trainings of one recipe: the spread over trainings, and that over images, kept apart.

An interval over images says how the mean of these very networks would change on other images; one
over trainings how the mean on these images would change with other seeds. They answer different
questions, and their widths are not added.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool
from scipy.stats import t, ttest_ind

from fdbench.stats.intervals import LEVEL, Interval

Rights = Bool[np.ndarray, "_ images"]  # where each of the networks is right


@dataclass(frozen=True)
class Spread:
    """The mean accuracy of several trainings on the same images.

    `deviation` is the standard deviation over trainings, `over_images` and `over_seeds` are the
    mean's intervals; None for one training.
    """

    seeds: int
    mean: float
    over_images: Interval
    deviation: float | None
    over_seeds: Interval | None


@dataclass(frozen=True)
class Gap:
    """The mean of one recipe less that of another, on the same images.

    `over_seeds` and `p` are those of Welch's t-test over trainings; None where a recipe has one.
    """

    difference: float
    over_images: Interval
    over_seeds: Interval | None
    p: float | None


def _about(middle: float, half: float) -> Interval:
    return Interval(middle - half, middle + half)


def _over_images(scores: np.ndarray, level: float) -> Interval:
    """The interval of the mean of one score per image, by its standard error."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    error = float(scores.std(ddof=1)) / sqrt(len(scores)) if len(scores) > 1 else 1.0
    return _about(float(scores.mean()), z * error)


def spread(rights: Rights, level: float = LEVEL) -> Spread:
    """Combines the trainings of one recipe; every network has all of the images."""
    means = rights.mean(1)
    seeds = len(means)
    if seeds == 1:
        return Spread(1, float(means[0]), _over_images(rights.mean(0), level), None, None)
    deviation = float(means.std(ddof=1))
    half = float(t.ppf((1 + level) / 2, seeds - 1)) * deviation / sqrt(seeds)
    middle = float(means.mean())
    return Spread(
        seeds, middle, _over_images(rights.mean(0), level), deviation, _about(middle, half)
    )


def gap(first: Rights, second: Rights, level: float = LEVEL) -> Gap:
    """Compares the trainings of two recipes on the same images."""
    over_images = _over_images(first.mean(0) - second.mean(0), level)
    one, two = first.mean(1), second.mean(1)
    difference = float(one.mean() - two.mean())
    if min(len(one), len(two)) < 2:
        return Gap(difference, over_images, None, None)
    if one.std() == two.std() == 0:  # no spread to test against
        return Gap(difference, over_images, Interval(difference, difference), None)
    test = ttest_ind(one, two, equal_var=False)
    ends = test.confidence_interval(level)
    return Gap(difference, over_images, Interval(float(ends.low), float(ends.high)),
               float(test.pvalue))  # fmt: skip
