"""Intervals and tests, against the literature's worked examples and by brute force."""

from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest

from fdbench.stats import Interval, exceeds, mcnemar, paired, paired_interval, visible, wilson


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


def test_wilson_covers_the_truth_at_its_level_even_near_zero() -> None:
    for p, n in ((0.02, 200), (0.3, 100), (0.5, 1000)):
        ks = np.arange(n + 1)
        chance = np.array([comb(n, int(k)) * p**k * (1 - p) ** (n - k) for k in map(int, ks)])
        covered = np.array([wilson(int(k), n).low <= p <= wilson(int(k), n).high for k in ks])
        assert 0.92 < chance[covered].sum() < 0.98


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:2635, method 10
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((18, 12, 2, 18), 0.0562, 0.3290),
        ((53, 0, 0, 1), -0.0729, 0.0729),
        ((0, 30, 0, 0), 0.8395, 1.0),
        # Fagerland et al. 2014, Statistics in Medicine 33:2850, airway hyper-responsiveness
        ((1, 1, 7, 12), -0.507, -0.026),
    ],
)
def test_paired_interval_gives_the_published_examples(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    places = 5e-4 if sum(table) == 21 else 5e-5
    assert paired_interval(*table) == pytest.approx((low, high), abs=places)


def test_paired_interval_is_negated_when_the_networks_are_swapped() -> None:
    one, two = paired_interval(40, 12, 5, 43), paired_interval(40, 5, 12, 43)
    assert (one.low, one.high) == pytest.approx((-two.high, -two.low))


@pytest.mark.parametrize("cells", [(0.45, 0.08, 0.04, 0.43), (0.3, 0.2, 0.2, 0.3)])
def test_paired_interval_covers_the_truth_at_its_level(cells: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    truth = cells[1] - cells[2]
    draws = rng.multinomial(200, cells, size=1000)
    ends = [paired_interval(*map(int, draw)) for draw in draws]
    covered = np.mean([low <= truth <= high for low, high in ends])
    assert 0.935 < covered < 0.975  # two standard errors of 1000 draws around 0.95


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 7), (7, 1), (5, 5), (12, 30)])
def test_mcnemar_sums_the_splits_at_least_as_uneven(b: int, c: int) -> None:
    n = b + c
    uneven = [k for k in range(n + 1) if abs(2 * k - n) >= abs(b - c)]
    assert mcnemar(b, c) == pytest.approx(sum(comb(n, k) for k in uneven) / 2**n)


@pytest.mark.parametrize("n", [1, 2, 9, 10, 99, 5000, 50_001])
def test_mcnemar_is_scipys_binomial_test_to_the_last_bit(n: int) -> None:
    for b in {0, 1, n // 3, n // 2 - 1, n // 2, n // 2 + 1, n - 1, n}:
        if 0 <= b <= n:
            assert mcnemar(b, n - b) == float(binomtest(b, n).pvalue)


def test_paired_counts_image_by_image() -> None:
    comparison = paired([True, True, False, True], [True, False, True, False])
    assert (comparison.n, comparison.only_first, comparison.only_second) == (4, 2, 1)
    assert comparison.difference == 0.25
    with pytest.raises(ValueError, match="shorter"):
        paired([True, True], [True])


def tail(k: int, n: int, rate: float) -> float:
    return sum(comb(n, i) * rate**i * (1 - rate) ** (n - i) for i in range(k, n + 1))


@pytest.mark.parametrize(
    ("k", "n", "rate"), [(0, 10, 0.1), (3, 10, 0.1), (6, 30, 0.02), (5, 5, 0.5)]
)
def test_an_excess_has_the_probability_of_the_binomial_tail(k: int, n: int, rate: float) -> None:
    assert exceeds(k, n, rate) == pytest.approx(tail(k, n, rate))


@pytest.mark.parametrize(("n", "rate"), [(20, 0.02), (100, 0.02), (35, 0.25)])
def test_a_visible_share_is_found_with_the_power_asked_for(n: int, rate: float) -> None:
    share = visible(n, rate, 0.005, 0.9)
    fewest = min(k for k in range(n + 1) if tail(k, n, rate) < 0.005)
    assert tail(fewest, n, share) == pytest.approx(0.9)


def test_nothing_is_visible_among_too_few() -> None:
    assert visible(0, 0.02, 0.005, 0.9) == 1
    assert visible(1, 0.02, 0.005, 0.9) == 1
