"""How many images and trainings it takes, by doing the experiments."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from fdbench.stats import (
    detectable,
    gap,
    images_needed,
    mcnemar,
    seeds_needed,
    spread,
)

EXPERIMENTS = 2000


@pytest.mark.parametrize(("disagreement", "difference"), [(0.1, 0.03), (0.3, 0.03), (0.1, 0.01)])
def test_that_many_images_find_the_difference_in_four_of_five_experiments(
    disagreement: float, difference: float
) -> None:
    n = images_needed(disagreement, difference)
    cells = [(disagreement + difference) / 2, (disagreement - difference) / 2, 1 - disagreement]
    first, second, _ = np.random.default_rng(0).multinomial(n, cells, EXPERIMENTS).T
    assert 0.76 <= np.mean(mcnemar(first, second) <= 0.05) <= 0.83


def test_what_n_images_detect_is_the_inverse_of_how_many_they_must_be() -> None:
    for disagreement in (0.05, 0.3):
        n = images_needed(disagreement, 0.02)
        assert detectable(disagreement, n) == pytest.approx(0.02, rel=1e-3)
    assert detectable(0.0, 1) == 1.0
    with pytest.raises(ValueError, match="is not a difference"):
        images_needed(0.1, 0.0)


def test_that_many_trainings_find_the_difference_in_four_of_five_experiments() -> None:
    seeds = seeds_needed(spread=0.5, difference=1.0)
    rng = np.random.default_rng(1)
    one, two = rng.normal(1, 0.5, (EXPERIMENTS, seeds)), rng.normal(0, 0.5, (EXPERIMENTS, seeds))
    assert 0.78 <= np.mean(ttest_ind(one, two, axis=1).pvalue <= 0.05) <= 0.9
    assert seeds_needed(0.5, 0.25) > seeds
    assert seeds_needed(0.0, 1.0) == 2
    with pytest.raises(ValueError, match="is no difference"):
        seeds_needed(1.0, 0.0)


def trainings(rng: np.random.Generator, means: list[float], images: int) -> np.ndarray:
    return rng.random((len(means), images)) < np.array(means)[:, None]


def test_the_spread_over_trainings_and_over_images_are_kept_apart() -> None:
    rng = np.random.default_rng(0)
    alike, apart = trainings(rng, [0.5] * 4, 4000), trainings(rng, [0.4, 0.45, 0.55, 0.6], 4000)
    one, two = spread(alike), spread(apart)
    assert one.seeds == two.seeds == 4
    assert one.deviation is not None
    assert two.deviation is not None
    assert two.deviation == pytest.approx(0.0913, abs=0.02)
    assert one.deviation < 0.02
    widths = [s.over_images.high - s.over_images.low for s in (one, two)]
    assert widths[0] == pytest.approx(widths[1], rel=0.1), "the same images, as many trainings"


def test_one_training_says_nothing_about_other_trainings() -> None:
    rng = np.random.default_rng(0)
    alone = trainings(rng, [0.5], 100)
    assert spread(alone).deviation is None
    assert spread(alone).over_seeds is None
    found = gap(alone, trainings(rng, [0.5, 0.5], 100))
    assert found.over_seeds is None
    assert found.p is None


def test_the_gap_over_seeds_is_welchs_test_of_the_trainings_accuracies() -> None:
    rng = np.random.default_rng(0)
    one, two = trainings(rng, [0.6, 0.62, 0.64], 2000), trainings(rng, [0.5, 0.52], 2000)
    found, welch = gap(one, two), ttest_ind(one.mean(1), two.mean(1), equal_var=False)
    assert found.p == pytest.approx(float(welch.pvalue))
    assert found.difference == pytest.approx(one.mean() - two.mean())
    assert found.over_seeds is not None
    assert found.over_seeds.low < found.difference < found.over_seeds.high
    same = gap(np.ones((2, 5), bool), np.ones((2, 5), bool))
    assert same.difference == 0
    assert same.p is None
