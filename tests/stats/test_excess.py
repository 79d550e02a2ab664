"""The exact test of a count against a rate, and the share that it can find."""

from math import comb

import pytest

from fdbench.stats import exceeds, visible


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
