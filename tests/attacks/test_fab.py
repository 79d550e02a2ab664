"""FAB: its projection against the package's, its adversaries against the package's own run."""

import pytest
import torch
from conftest import Linear, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ascent import Counting
from test_autoattack import Wavy, images
from torch import nn

from fdbench.attacks.autoattack.fab import NORMS, fab_targeted, onto_plane
from fdbench.threat import Threat
from fdbench.types import Batch
from fdbench.verdict import check

EPS = {"linf": 0.004, "l2": 0.06}
NAMES = {"linf": "Linf", "l2": "L2"}


def problem(seed: int, gap: float, zeros: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points in the box, normals of which a share is zero, and the distances to bridge."""
    rng = torch.Generator().manual_seed(seed)
    point, normal = torch.rand(5, 40, generator=rng), torch.randn(5, 40, generator=rng)
    normal = normal * (torch.rand(5, 40, generator=rng) >= zeros)
    return point, normal, gap * torch.randn(5, generator=rng)


@pytest.mark.parametrize("norm", NORMS)
@settings(deadline=None)
@given(
    seed=st.integers(0, 2**31), gap=st.sampled_from([0.0, 0.3, 3.0, 100.0]), zeros=st.floats(0, 1)
)
def test_moves_are_the_packages_smallest_ones(
    norm: str, seed: int, gap: float, zeros: float
) -> None:
    from pyautoattack.fab_projections import projection_l2, projection_linf

    theirs = {"linf": projection_linf, "l2": projection_l2}[norm]
    point, normal, distance = problem(seed, gap, zeros)
    mine = onto_plane(point, normal, distance, norm)
    reached = (normal * mine).sum(1)
    wanted = theirs(point, normal, (normal * point).sum(1) - distance)
    far = (normal * wanted).sum(1)
    assert ((point + mine >= -1e-6) & (point + mine <= 1 + 1e-6)).all()
    torch.testing.assert_close(reached, far, atol=1e-3, rtol=1e-3)
    length = Threat(norm, 1.0).geometry.length
    assert (length(mine) <= length(wanted) * (1 + 1e-3) + 1e-5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_same_images_break_as_in_the_packages_run(norm: str) -> None:
    from pyautoattack.fab_pt import FABAttack_PT

    net = frozen(Wavy())
    batch = images(net)
    x, label = (part[net(batch.x).argmax(1) == batch.label] for part in (batch.x, batch.label))
    theirs = FABAttack_PT(
        net, norm=NAMES[norm], n_restarts=1, n_iter=10, eps=EPS[norm], seed=0, targeted=True,
        n_target_classes=4, device=x.device,
    ).perturb(x, label)  # fmt: skip
    mine = fab_targeted(net, x, label, Threat(norm, EPS[norm]), iters=10, targets=4)
    broken, wanted = (net(adv).argmax(1) != label for adv in (mine, theirs))
    assert torch.equal(broken, wanted)
    assert 0 < broken.sum() < len(x)
    check(mine, x, Threat(norm, EPS[norm]))
    assert torch.equal(mine[~broken], x[~broken])


@pytest.mark.parametrize("norm", NORMS)
def test_images_do_not_depend_on_their_batch(norm: str) -> None:
    net, threat = frozen(Wavy()), Threat(norm, EPS[norm])
    batch = images(net)

    def broken(x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return net(fab_targeted(net, x, label, threat, iters=10, targets=4)).argmax(1) != label

    parts = [broken(batch.x[i::3], batch.label[i::3]) for i in range(3)]
    whole = broken(batch.x, batch.label)
    assert all(torch.equal(part, whole[i::3]) for i, part in enumerate(parts))


def test_one_step_breaks_exactly_what_lies_within_reach_of_a_linear_network() -> None:
    net = Linear(3, 8, seed=0)
    frozen(net)
    x = 0.3 + 0.4 * torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    label = net(x).argmax(1)
    weight = (net.fc.weight[label][:, None] - net.fc.weight[None]).abs().sum(2)
    logits = net(x)
    gap = logits.gather(1, label[:, None]) - logits
    distance = (gap / weight.clamp(min=1e-9)).scatter(1, label[:, None], torch.inf).amin(1)
    eps = float(distance.median())
    adv = fab_targeted(net, x, label, Threat("linf", eps), iters=3, targets=2)
    sure = (distance / eps - 1).abs() > 0.06  # a step goes 5 % beyond the boundary
    assert torch.equal((net(adv).argmax(1) != label)[sure], (distance < eps)[sure])


def test_broken_images_cost_no_further_passes() -> None:
    net = Counting(frozen(Wavy()))
    batch = images(net.net)
    wrong = Batch(batch.x, (batch.label + 1) % 5, batch.ids)
    fab_targeted(net, wrong.x, wrong.label, Threat("linf", 1.0), iters=10, targets=4)
    assert net.passes <= 2 * len(batch.ids) + 3 * int(
        (net.net(batch.x).argmax(1) == wrong.label).sum()
    )


def test_a_network_that_is_wrong_everywhere_is_left_alone() -> None:
    net = frozen(nn.Sequential(Wavy()))
    batch = images(Wavy())
    label = (net(batch.x).argmax(1) + 1) % 5
    adv = fab_targeted(net, batch.x, label, Threat("linf", 0.1), iters=5, targets=4)
    assert torch.equal(adv, batch.x)
