"""The interval of a proportion, against the literature's worked examples and by simulation."""

import numpy as np
import pytest

from fdbench.stats import Interval, wilson


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_examples(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_ends_where_the_score_test_just_rejects() -> None:
    for k in (0, 3, 50, 100):
        for p in wilson(k, 100):
            if 0 < p < 1:
                assert abs(k / 100 - p) / (p * (1 - p) / 100) ** 0.5 == pytest.approx(1.959964)


def test_wilson_of_no_images_is_the_unit_interval_and_of_too_many_hits_refused() -> None:
    assert wilson(0, 0) == Interval(0, 1)
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.98])
def test_wilson_covers_the_truth_in_93_to_97_of_100_experiments(p: float, n: int) -> None:
    drawn, times = np.unique(np.random.default_rng(0).binomial(n, p, 2000), return_counts=True)
    ends = [wilson(int(k), n) for k in drawn]
    covered = sum(t for t, (low, high) in zip(times, ends, strict=True) if low <= p <= high)
    assert 0.93 <= covered / 2000 <= 0.97
