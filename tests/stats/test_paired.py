"""Paired comparisons, against the literature's worked examples, by brute force and simulation."""

from math import comb

import numpy as np
import pytest
from scipy.special import xlogy
from scipy.stats import binomtest, multinomial

from fdbench.stats import corrected, mcnemar, paired, paired_all, paired_interval

EXPERIMENTS = 2000


def test_the_interval_is_that_of_the_published_example() -> None:
    # Fagerland et al. 2014, Statistics in Medicine 33:2850, airway hyper-responsiveness: Tango's
    low, high = paired_interval(1, 7, 21)
    assert (float(low), float(high)) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("first", "second", "n"), [(12, 2, 50), (0, 9, 1000), (40, 20, 160)])
def test_the_interval_ends_where_the_score_test_just_rejects(
    first: int, second: int, n: int
) -> None:
    for assumed in map(float, paired_interval(first, second, n)):
        # the likeliest table with this difference, by search instead of by formula
        shares = np.linspace(max(0, -assumed), (1 - assumed) / 2, 2_000_001)[1:-1]
        agree = 1 - 2 * shares - assumed
        chance = (
            xlogy(first, shares + assumed)
            + xlogy(second, shares)
            + xlogy(n - first - second, agree)
        )
        likeliest = 2 * shares[np.argmax(chance)] + assumed
        error = ((likeliest - assumed**2) / n) ** 0.5
        distance = abs((first - second) / n - assumed) / error
        assert distance == pytest.approx(1.959964, rel=1e-3)


def test_the_interval_is_negated_when_the_networks_are_swapped() -> None:
    one, two = paired_interval(12, 5, 100), paired_interval(5, 12, 100)
    assert [float(end) for end in one] == pytest.approx([-float(end) for end in reversed(two)])


def test_the_interval_of_networks_that_never_disagree_is_wilsons_and_not_a_point() -> None:
    low, high = map(float, paired_interval(0, 0, 100))
    assert -low == pytest.approx(high)
    assert 0.03 < high < 0.04  # z^2 / (n + z^2)
    assert tuple(map(float, paired_interval(0, 0, 0))) == (-1, 1)


def cells(p: float, gap: float, correlation: float) -> list[float]:
    """How often only the first of two networks is right, only the second, and anything else.

    They are right on p and p - gap, together as often as this correlation of their answers says.
    """
    other = p - gap
    both = p * other + correlation * (p * (1 - p) * other * (1 - other)) ** 0.5
    return [p - both, other - both, 1 - p - other + 2 * both]


def coverage(p: float, gap: float, correlation: float, n: int) -> float:
    """The chance that the interval covers the gap: over every possible outcome, not simulated."""
    chances = cells(p, gap, correlation)
    most = [int(n * c + 9 * (n * c) ** 0.5 + 9) for c in chances[:2]]
    first, second = (one.ravel() for one in np.mgrid[: most[0], : most[1]])
    first, second = first[first + second <= n], second[first + second <= n]
    chance = multinomial.pmf(np.stack([first, second, n - first - second], 1), n, chances)
    likely = chance > 1e-7
    low, high = paired_interval(first[likely], second[likely], n)
    return float(chance[likely][(low <= gap) & (gap <= high)].sum())


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.98])
def test_the_interval_covers_no_difference_in_93_to_97_of_100_simulated_experiments(
    p: float, n: int
) -> None:
    drawn = np.random.default_rng(5).multinomial(n, cells(p, 0.0, 0.0), EXPERIMENTS)
    low, high = paired_interval(drawn[:, 0], drawn[:, 1], np.full(EXPERIMENTS, n))
    assert 0.93 <= np.mean((low <= 0) & (high >= 0)) <= 0.97


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.98])
@pytest.mark.parametrize("gap", [0.0, 0.03])
def test_the_interval_covers_the_truth_with_a_chance_of_93_to_97_percent(
    p: float, gap: float, n: int
) -> None:
    assert 0.93 <= coverage(p, gap, 0.0, n) <= 0.97
    if n * (1 - p) > 3:
        assert 0.93 <= coverage(p, gap, 0.3, n) <= 0.97


def test_where_hardly_an_image_is_discordant_the_interval_covers_more_not_less() -> None:
    for correlation in (0.3, 0.6, 0.9):
        assert coverage(0.98, 0.0, correlation, 100) >= 0.95


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 7), (7, 1), (5, 5), (12, 30)])
def test_mcnemar_sums_the_splits_at_least_as_uneven(b: int, c: int) -> None:
    n = b + c
    uneven = [k for k in range(n + 1) if abs(2 * k - n) >= abs(b - c)]
    assert float(mcnemar(b, c)) == pytest.approx(sum(comb(n, k) for k in uneven) / 2**n)


@pytest.mark.parametrize("n", [1, 2, 9, 10, 99, 5000, 50_001])
def test_mcnemar_is_scipys_binomial_test_to_the_last_bit(n: int) -> None:
    for b in {0, 1, n // 3, n // 2 - 1, n // 2, n // 2 + 1, n - 1, n}:
        if 0 <= b <= n:
            assert mcnemar(b, n - b) == float(binomtest(b, n).pvalue)


@pytest.mark.parametrize("disagreement", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("n", [100, 1000])
def test_mcnemar_errs_in_at_most_5_of_100_experiments(disagreement: float, n: int) -> None:
    half = disagreement / 2
    cells = [half, half, 1 - disagreement]
    first, second, _ = np.random.default_rng(2).multinomial(n, cells, EXPERIMENTS).T
    assert np.mean(mcnemar(first, second) <= 0.05) <= 0.05


def test_paired_counts_image_by_image() -> None:
    comparison = paired([True, True, False, True], [True, False, True, False])
    assert (comparison.n, comparison.only_first, comparison.only_second) == (4, 2, 1)
    assert comparison.difference == 0.25
    with pytest.raises(ValueError, match="shorter"):
        paired([True, True], [True])


def test_many_comparisons_at_once_are_those_made_one_by_one() -> None:
    counts = [(12, 2, 50), (0, 0, 10), (7, 1, 21), (0, 0, 0)]
    first, second, n = map(list, zip(*counts, strict=True))
    together = paired_all(first, second, n)
    assert together == [paired_all([a], [b], [n])[0] for a, b, n in counts]
    assert paired_all([], [], []) == []


def test_holm_gives_the_textbook_example() -> None:
    # Wright 1992, Biometrics 48:1005, Sec. 3: Holm's adjusted p-values, here of four.
    given = [0.01, 0.04, 0.03, 0.005]
    assert corrected(given) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert corrected([]) == []
    assert corrected([0.9, 0.8]) == [1.0, 1.0]


def test_holm_of_some_of_the_comparisons_is_never_below_that_of_all() -> None:
    p = np.random.default_rng(0).random(12) ** 3
    some = corrected(list(p[:5]), of=12)
    assert all(a >= b for a, b in zip(some, corrected(list(p))[:5], strict=True))
    with pytest.raises(ValueError, match="5 p-values of only 4"):
        corrected(list(p[:5]), of=4)


def test_after_holm_ten_equal_networks_are_told_apart_in_at_most_5_of_100_experiments() -> None:
    rng = np.random.default_rng(3)
    wrong, uncorrected = 0, 0
    one, two = np.triu_indices(10, 1)
    for _ in range(200):
        right = rng.random((10, 300)) < 0.5
        together = right.astype(np.int64) @ right.T
        only = np.diag(together)[:, None] - together
        p = mcnemar(only[one, two], only[two, one])
        wrong += min(corrected(p.tolist())) <= 0.05
        uncorrected += bool(p.min() <= 0.05)
    assert wrong / 200 <= 0.05
    assert uncorrected / 200 > 0.3, "without the correction the claim would be empty"
