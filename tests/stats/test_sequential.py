"""The test that may be looked at after every image: its error, its saving, its formula."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from fdbench.stats import decision, evidence, gathered, mcnemar
from fdbench.stats.sequential import ALPHA, BELIEF

EXPERIMENTS = 2000
IMAGES = 10_000
RATES = (0.05, 0.1, 0.2, 0.3)  # of images on which the networks disagree


def boundary(most: int) -> np.ndarray:
    """By how many of m discordant images one side must lead to be told, for m up to `most`."""
    m = np.arange(most + 1)[:, None]
    lead = np.arange(0, 6 * int(most**0.5))
    one = (m + lead) // 2
    reached = (evidence(one, m - one) >= 1 / ALPHA) & (lead <= m) & ((m + lead) % 2 == 0)
    return np.where(reached.any(1), reached.argmax(1), most + 1)


def leads(rng: np.random.Generator, coin: float, most: int) -> np.ndarray:
    """The first's lead after each discordant image, experiment by experiment."""
    steps = np.where(rng.random((EXPERIMENTS, most), np.float32) < coin, 1, -1).astype(np.int16)
    return np.cumsum(steps, axis=1, dtype=np.int16)


def test_evidence_is_the_mean_likelihood_of_the_belief_over_that_of_a_fair_coin() -> None:
    for b, c in ((0, 0), (3, 1), (12, 30)):
        mean, _ = quad(lambda p, b=b, c=c: p**b * (1 - p) ** c * beta.pdf(p, BELIEF, BELIEF), 0, 1)
        assert float(evidence(b, c)) == pytest.approx(mean * 2 ** (b + c))


def test_looked_at_after_every_image_it_errs_in_at_most_5_of_100_experiments() -> None:
    most = int(max(RATES) * IMAGES)
    walk = np.abs(leads(np.random.default_rng(0), 0.5, most))
    decided = (walk >= boundary(most)[1:]).any(1)
    assert decided.mean() <= 0.05


def test_stopping_mcnemars_test_as_soon_as_it_says_so_errs_far_more_often() -> None:
    walk = leads(np.random.default_rng(0), 0.5, 1000)[:, 19::20].astype(int)
    m = np.arange(20, 1001, 20)
    assert (mcnemar((m + walk) // 2, (m - walk) // 2) <= 0.05).any(1).mean() > 0.15


@pytest.mark.parametrize("rate", RATES)
def test_three_points_take_a_third_of_ten_thousand_images_or_less(rate: float) -> None:
    rng = np.random.default_rng(4)
    most = int(1.1 * rate * IMAGES)
    walk = leads(rng, 0.5 + 0.03 / (2 * rate), most)
    told = np.abs(walk) >= boundary(most)[1:]
    decided = told.any(1)
    discordant = np.where(decided, told.argmax(1) + 1, most)
    images = np.minimum(discordant + rng.negative_binomial(discordant, rate), IMAGES)
    assert images.mean() <= IMAGES / 3
    assert decided.mean() > 0.97
    first = walk[np.arange(EXPERIMENTS), discordant - 1] > 0
    assert (decided & ~first).mean() <= 0.001, "decided for the worse network"


def answers(rng: np.random.Generator, n: int, rate: float, gap: float) -> tuple[np.ndarray, ...]:
    draw = rng.random(n)
    return draw < (rate + gap) / 2 + 0.3, (draw < 0.3) | (
        (draw >= (rate + gap) / 2 + 0.3) & (draw < rate + 0.3)
    )


def test_what_is_gathered_ends_at_the_image_that_decides_and_ignores_later_ones() -> None:
    one, two = answers(np.random.default_rng(0), 4000, 0.2, 0.06)
    at = decision(one, two)
    assert at is not None
    found = gathered(one, two)
    assert found.n == at < 4000
    assert found.verdict == "first"
    assert found.e >= 1 / ALPHA
    assert found == gathered(one[: at + 50], two[: at + 50])
    assert gathered(one[: at - 1], two[: at - 1]).verdict == "undecided"
    assert gathered(two, one).verdict == "second"
    assert found.interval.low > 0, "the interval agrees with the verdict"


def test_of_equal_answers_or_no_images_nothing_is_decided() -> None:
    same = np.ones(500, bool)
    for n in (0, 1, 500):
        found = gathered(same[:n], same[:n])
        assert (found.verdict, found.e, found.difference) == ("undecided", 1.0, 0.0)


def test_the_interval_covers_the_truth_wherever_one_stops() -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(300):
        found = gathered(*answers(rng, 3000, 0.2, 0.03))
        covered += found.interval.low <= 0.03 <= found.interval.high
    assert covered / 300 >= 0.93
