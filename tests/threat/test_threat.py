import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fdbench.errors import BadValue
from fdbench.threat import NORMS, Threat, onto_ball_in_box


def images(seed: int, count: int = 6) -> torch.Tensor:
    return torch.rand((count, 3, 5, 5), generator=torch.Generator().manual_seed(seed))


@given(st.sampled_from(sorted(NORMS)), st.floats(1e-3, 3), st.floats(0, 4), st.integers(0, 99))
@example("l1", 0.640625, 2.40625, 45)  # where float32 sums once left the ball
@example("l1", 0.001, 6.103515625e-05, 21)  # where each of 75 pixels rounds outwards
def test_a_projection_lies_in_ball_and_box(norm: str, eps: float, far: float, seed: int) -> None:
    x, threat = images(seed), Threat(norm, eps)
    adv = threat.project(x + far * (images(seed + 1) - 0.5), x)
    rounding = 2**-25 * x[0].numel() if norm == "l1" else 0.0  # half a unit in the last place each
    assert threat.distance(adv, x).max() <= eps + 1e-6 + rounding
    assert adv.min() >= 0
    assert adv.max() <= 1


@pytest.mark.parametrize("norm", sorted(NORMS))
def test_a_legal_image_is_its_own_projection(norm: str) -> None:
    x = images(0)
    adv = (x + 1e-3 * (images(1) - 0.5)).clamp(0, 1)
    eps = 75.0 if norm == "l0" else 0.5  # all of its 3 x 5 x 5 values are moved
    assert torch.allclose(Threat(norm, eps).project(adv, x), adv, atol=1e-7)


def test_the_l1_projection_is_the_nearest_point_of_the_ball() -> None:
    x, eps = torch.full((1, 3, 1, 1), 0.5), 0.3
    adv = x + torch.tensor([0.4, -0.2, 0.05]).reshape(1, 3, 1, 1)
    got = (Threat("l1", eps).project(adv, x) - x).flatten()
    grid = torch.linspace(-eps, eps, 121)
    points = torch.cartesian_prod(grid, grid, grid)
    points = points[points.abs().sum(1) <= eps + 1e-6]
    wanted = points[(points - (adv - x).flatten()).norm(dim=1).argmin()]
    assert (got - wanted).abs().max() < 0.006
    assert torch.allclose(got, torch.tensor([0.25, -0.05, 0.0]), atol=1e-6)


def test_the_l0_projection_keeps_the_largest_values_whole() -> None:
    x = torch.full((1, 3, 1, 1), 0.5)
    adv = x + torch.tensor([0.1, -0.4, 0.2]).reshape(1, 3, 1, 1)
    got = (Threat("l0", 2.0).project(adv, x) - x).flatten()
    assert torch.allclose(got, torch.tensor([0.0, -0.4, 0.2]))


@pytest.mark.parametrize("norm", ["l1", "l0"])
def test_pgd_has_no_step_in_other_norms(norm: str) -> None:
    x, threat = images(0), Threat(norm, 2.0)
    with pytest.raises(BadValue, match="linf or l2"):
        threat.move(x, x, 0.1)
    with pytest.raises(BadValue, match="linf or l2"):
        threat.check_steps()


def test_a_linf_step_moves_every_pixel_by_alpha_and_an_l2_step_the_image() -> None:
    x, grad = images(0), images(1) - 0.5
    moved = Threat("linf", 1.0).move(x, grad, 0.1) - x
    assert torch.allclose(moved, 0.1 * grad.sign(), atol=1e-6)
    moved = Threat("l2", 1.0).move(x, grad, 0.1) - x
    assert torch.allclose(moved.flatten(1).norm(dim=1), torch.full((6,), 0.1))
    assert torch.allclose(
        (moved * grad).sum((1, 2, 3)) / grad.flatten(1).norm(dim=1), torch.tensor(0.1)
    )


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_random_start_lies_in_the_ball_and_fills_it(norm: str) -> None:
    x = torch.full((400, 3, 1, 1), 0.5)
    unit = torch.rand((400, 4), generator=torch.Generator().manual_seed(0))
    distance = Threat(norm, 0.3).distance(Threat(norm, 0.3).start(x, unit), x)
    assert distance.max() <= 0.3 + 1e-6
    # In three dimensions half of the ball's volume lies beyond 0.5^(1/3) of its radius.
    assert abs(float((distance > 0.3 * 0.5 ** (1 / 3)).float().mean()) - 0.5) < 0.08


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(BadValue, match="no norm 'l3'"):
        Threat("l3", 0.1)


@settings(deadline=None)  # the package is imported
@given(st.floats(1e-2, 30), st.floats(0, 4), st.integers(0, 99))
@example(5.0, 0.0, 3)  # nothing to project
def test_the_l1_projection_into_the_box_is_the_packages(eps: float, far: float, seed: int) -> None:
    from pyautoattack.autopgd_base import L1_projection

    x = images(seed)
    delta = far * (images(seed + 1) - 0.5)
    got = onto_ball_in_box(delta, x, eps)
    assert Threat("l1", eps).distance(got, x).max() <= eps + 1e-5
    torch.testing.assert_close(got, x + delta + L1_projection(x, delta, eps), atol=1e-5, rtol=0)


def test_the_l1_projection_into_the_box_is_nearer_than_onto_ball_then_box() -> None:
    x, eps = images(0), 3.0
    adv = x + 2 * (images(1) - 0.5)
    nearest, clipped = onto_ball_in_box(adv - x, x, eps), Threat("l1", eps).project(adv, x)
    far, farther = ((one - adv).flatten(1).norm(dim=1) for one in (nearest, clipped))
    assert (far < farther).all()
