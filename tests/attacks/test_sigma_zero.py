"""sigma-zero: its steps, the smallest change in closed form, and all radii from one search."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import Linear, frozen
from test_ascent import Counting
from test_fast_verdict import Bent, labelled, subject
from torch import Tensor, nn

import fdbench
from fdbench.attacks import Reading, SigmaZero
from fdbench.errors import BadValue
from fdbench.specs import AttackSpec, SigmaZeroParameters
from fdbench.threat import Threat
from fdbench.types import Batch
from fdbench.verdict import check

RADII = (2.0, 4.0, 8.0, 16.0, 40.0)
WHOLE = float(3 * 28 * 28)  # no change of an image is longer


def searched(
    net: nn.Module, batch: Batch, iters: int, radii: tuple[float, ...] = RADII
) -> dict[float, Reading]:
    parameters = SigmaZeroParameters(radii, iters=iters)
    spec = AttackSpec("sigma-zero", "l0", radii[-1], parameters=parameters)
    return SigmaZero().readings(subject(net, batch, Threat("l0", radii[-1])), spec, radii)


def lengths(one: Reading, batch: Batch) -> Tensor:
    return (one.adv != batch.x).flatten(1).sum(1)


def broken(net: nn.Module, one: Reading, batch: Batch) -> Tensor:
    return net(one.adv).argmax(1) != batch.label


def smallest(net: nn.Module, batch: Batch, iters: int) -> Tensor:
    """The algorithm written out with PyTorch's own Adam and cosine; inf where it finds nothing."""
    x, found = batch.x, torch.full((len(batch.ids),), torch.inf)
    delta = torch.zeros_like(x).requires_grad_()
    threshold = torch.full((len(x), 1, 1, 1), 0.3)
    adam = torch.optim.Adam([delta], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, iters, eta_min=0.1)
    for _ in range(iters + 1):
        logits = net(x + delta)
        other = logits.scatter(1, batch.label[:, None], -math.inf).amax(1)
        above = logits.gather(1, batch.label[:, None])[:, 0] - other
        count = (delta**2 / (delta**2 + 1e-3)).flatten(1).sum(1) / x[0].numel()
        changed = (delta != 0).flatten(1).sum(1).float()
        wrong = logits.argmax(1) != batch.label
        found = torch.where(wrong & (changed < found), changed, found)
        adam.zero_grad()
        (above.clamp(min=0) + count).sum().backward()
        assert delta.grad is not None
        delta.grad /= delta.grad.flatten(1).abs().amax(1).clamp(min=1e-12)[:, None, None, None]
        size = cosine.get_last_lr()[0]
        adam.step()
        cosine.step()
        with torch.no_grad():
            delta.copy_((x + delta).clamp(0, 1) - x)
            threshold += 0.01 * size * torch.where(wrong, 1.0, -1.0)[:, None, None, None]
            threshold.clamp_(0, 1)
            delta[delta.abs() < threshold] = 0
    return found


@pytest.mark.parametrize("iters", [1, 5, 10, 20])
def test_it_takes_the_steps_of_the_algorithm(iters: int) -> None:
    net = frozen(Bent(nn.Identity()))
    batch = labelled(net)
    wanted = smallest(net, batch, iters)
    for radius, one in searched(net, batch, iters, (*RADII, WHOLE)).items():
        assert torch.equal(broken(net, one, batch), wanted <= radius)


def test_it_comes_close_to_the_fewest_values_that_turn_a_linear_network() -> None:
    """A value's change turns two logits by at most its room times their weights' difference."""
    net = Linear(10, 28, seed=0)
    frozen(net)
    batch = labelled(net, 40)
    weight = net.fc.weight[None] - net.fc.weight[batch.label][:, None]
    flat = batch.x.flatten(1)[:, None]
    gain = torch.where(weight > 0, weight * (1 - flat), -weight * flat)
    total = gain.sort(2, descending=True).values.cumsum(2)
    logits = net(batch.x)
    gap = logits.gather(1, batch.label[:, None]) - logits
    fewest = 1 + (total <= gap[:, :, None]).sum(2)
    fewest = fewest.scatter(1, batch.label[:, None], 10_000).amin(1)
    (one,) = searched(net, batch, 300, (WHOLE,)).values()
    assert broken(net, one, batch).all()
    radii = tuple(map(float, range(1, int(fewest.max()) + 3)))
    readings = searched(net, batch, 300, radii)
    found = torch.stack([~broken(net, one, batch) for one in readings.values()]).sum(0) + 1
    assert (found >= fewest).all()
    assert (found <= 1.4 * fewest).all()
    assert (found == fewest).float().mean() > 0.6


def test_adversaries_are_legal_and_larger_balls_have_no_fewer() -> None:
    net = frozen(Bent(nn.Identity()))
    batch = labelled(net)
    readings = searched(net, batch, 60)
    for radius, one in readings.items():
        check(one.adv, batch.x, Threat("l0", radius))
        assert (lengths(one, batch)[broken(net, one, batch)] <= radius).all()
    counts = [int(broken(net, one, batch).sum()) for one in readings.values()]
    assert all(few <= more for few, more in pairwise(counts))
    assert 0 < counts[0] < counts[-1]


def test_each_radius_has_the_verdicts_of_its_own_run_and_all_passes_are_counted() -> None:
    net = Counting(frozen(Bent(nn.Identity())))
    batch = labelled(net.net)
    net.passes = 0
    readings = searched(net, batch, 40)
    assert sum(sum(one.notes["passes"]) for one in readings.values()) == net.passes
    for radius, one in readings.items():
        alone = searched(net, batch, 40, (radius,))[radius]
        assert torch.equal(alone.adv, one.adv)
        assert sum(alone.notes["passes"]) <= net.passes


def test_images_that_are_wrong_before_are_not_searched() -> None:
    net = Counting(frozen(Bent(nn.Identity())))
    batch = labelled(net.net)
    wrong = Batch(batch.x, (batch.label + 1) % 10, batch.ids)
    net.passes = 0
    for one in searched(net, wrong, 5).values():
        assert torch.equal(one.adv, batch.x)
    assert net.passes == len(batch.ids)


def test_a_smaller_radius_alone_and_other_norms_are_refused() -> None:
    net = frozen(Bent(nn.Identity()))
    spec = AttackSpec("sigma-zero", "l0", 2.0, parameters=SigmaZeroParameters(RADII))
    with pytest.raises(BadValue, match="largest"):
        list(SigmaZero().run(subject(net, labelled(net), Threat("l0", 2.0)), spec))
    with pytest.raises(BadValue, match="l0"):
        AttackSpec("sigma-zero", "linf", 8 / 255, parameters=SigmaZeroParameters())


def test_a_security_curve_in_l0_is_made_by_it(tmp_path: Path) -> None:
    net = frozen(Bent(nn.Identity()))
    runs = fdbench.security_curve(
        net, "fashion-mini", [1.0, 16.0], norm="l0", limit=60, iters=60, results=tmp_path
    )
    assert [run.info.attack.attack for run in runs] == ["sigma-zero", "sigma-zero"]
    assert [run.info.attack.eps for run in runs] == [1, 16]
    left = [sum(row["pred"]["sigma-zero"] == row["label"] for row in run.rows) for run in runs]
    assert left[1] < left[0]
