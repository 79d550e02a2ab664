"""Square Attack's bumps, l2 and l1: the whole ball is used, one window takes what another had."""

import pytest
import torch

from fdbench.attacks.square_bumps import moved, pattern, tiles
from fdbench.threat import Threat

THREATS = [Threat("l2", 0.5), Threat("l1", 5.0)]

of_both = pytest.mark.parametrize("threat", THREATS, ids=lambda one: one.norm)


def grey(count: int = 4, px: int = 16) -> torch.Tensor:
    return torch.full((count, 3, px, px), 0.5)


@of_both
@pytest.mark.parametrize("side", [3, 4, 5, 9])
def test_a_pattern_is_a_bump_up_beside_a_bump_down(side: int, threat: Threat) -> None:
    one = pattern(side, threat.norm)
    assert threat.geometry.length(one[None, None]).item() == pytest.approx(1.0, abs=1e-6)
    assert (one[: side // 2] > 0).all()
    assert (one[side // 2 :] < 0).all()
    assert one[0, side // 2] == one[0].max()


@of_both
@pytest.mark.parametrize("side", [3, 5, 9])
def test_a_pattern_is_the_packages(side: int, threat: Threat) -> None:
    from pyautoattack.square import SquareAttack

    theirs = SquareAttack(lambda x: x, norm=threat.norm.upper(), eps=1.0, device="cpu").eta(side)
    mine = pattern(side, threat.norm)
    assert any(torch.allclose(theirs, one, atol=1e-6) for one in (mine, mine.T))


@of_both
@pytest.mark.parametrize("px", [4, 5, 16, 17])
def test_the_first_query_uses_the_whole_ball(px: int, threat: Threat) -> None:
    x = grey(px=px)
    adv = tiles(x, (0, 1, 2, 3), threat, 0)
    assert threat.distance(adv, x).tolist() == pytest.approx(4 * [threat.eps], abs=1e-4)
    assert not torch.equal(adv[0], adv[1]), "each image has its own random numbers"
    assert torch.equal(adv[1:2], tiles(x[:1], (1,), threat, 0))


@of_both
def test_a_window_is_emptied_and_another_filled(threat: Threat) -> None:
    x = grey()
    best = tiles(x, (0, 1, 2, 3), threat, 0)
    unit = torch.tensor([0.0, 0.0, 0.99, 0.99, 0.1, 0.9, 0.1, 0.2]).expand(4, 8)
    delta = moved(best, x, threat, unit, 5) - x
    assert (delta[:, :, 11:, 11:] == 0).all(), "the last window"
    assert (delta[:, :, :5, :5] != (best - x)[:, :, :5, :5]).any((1, 2, 3)).all(), "the first"
    untouched = (best - x)[:, :, 6:10, 6:10]
    assert threat.geometry.length(delta).tolist() == pytest.approx(4 * [threat.eps], abs=1e-4)
    left = delta[:, :, 6:10, 6:10]
    if threat.norm == "l2":
        assert (left / untouched)[untouched.abs() > 1e-3].std() < 1e-3, "the rest is at most scaled"
    for now, before in zip(left, untouched, strict=True) if threat.norm == "l1" else ():
        shorter = (before.abs() - now.abs())[now.abs() > 1e-6]
        assert shorter.numel() == 0 or shorter.max() - shorter.min() < 1e-5, "all by as much"
        assert (now.abs() <= before.abs() + 1e-6).all()


@of_both
def test_windows_fit_small_images(threat: Threat) -> None:
    x = grey(px=4)
    best = tiles(x, (0, 1, 2, 3), threat, 0)
    unit = torch.rand((4, 8), generator=torch.Generator().manual_seed(0))
    assert threat.distance(moved(best, x, threat, unit, 9), x).max() <= threat.eps + 1e-4
