"""Square Attack's proposals in l2: the whole ball is used, one window takes what another had."""

import pytest
import torch

from fdbench.attacks.square_l2 import moved, pattern, tiles
from fdbench.threat import Threat

L2 = Threat("l2", 0.5)


def grey(count: int = 4, px: int = 16) -> torch.Tensor:
    return torch.full((count, 3, px, px), 0.5)


@pytest.mark.parametrize("side", [3, 4, 5, 9])
def test_a_pattern_is_a_bump_up_beside_a_bump_down(side: int) -> None:
    one = pattern(side)
    assert one.norm().item() == pytest.approx(1.0, abs=1e-6)
    assert (one[: side // 2] > 0).all()
    assert (one[side // 2 :] < 0).all()
    assert one[0, side // 2] == one[0].max()


@pytest.mark.parametrize("px", [4, 5, 16, 17])
def test_the_first_query_uses_the_whole_ball(px: int) -> None:
    x = grey(px=px)
    adv = tiles(x, (0, 1, 2, 3), L2, 0)
    assert L2.distance(adv, x).tolist() == pytest.approx(4 * [0.5], abs=1e-5)
    assert not torch.equal(adv[0], adv[1]), "each image has its own random numbers"
    assert torch.equal(adv[1:2], tiles(x[:1], (1,), L2, 0))


def test_a_window_is_emptied_and_another_filled() -> None:
    x = grey()
    best = tiles(x, (0, 1, 2, 3), L2, 0)
    unit = torch.tensor([0.0, 0.0, 0.99, 0.99, 0.1, 0.9, 0.1, 0.2]).expand(4, 8)
    delta = moved(best, x, L2, unit, 5) - x
    assert (delta[:, :, 11:, 11:] == 0).all(), "the last window"
    assert (delta[:, :, :5, :5] != (best - x)[:, :, :5, :5]).any((1, 2, 3)).all(), "the first"
    untouched = (best - x)[:, :, 6:10, 6:10]
    assert L2.geometry.length(delta).tolist() == pytest.approx(4 * [0.5], abs=1e-5)
    ratio = delta[:, :, 6:10, 6:10] / untouched
    assert ratio[untouched.abs() > 1e-3].std() < 1e-3, "the rest is at most scaled"


def test_windows_fit_small_images() -> None:
    x = grey(px=4)
    best = tiles(x, (0, 1, 2, 3), L2, 0)
    unit = torch.rand((4, 8), generator=torch.Generator().manual_seed(0))
    assert L2.distance(moved(best, x, L2, unit, 9), x).max() <= 0.5 + 1e-5
