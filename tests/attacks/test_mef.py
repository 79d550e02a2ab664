"""MEF against its update written out, and the simpler attacks that it must equal."""

from typing import Any

import pytest
import torch
from conftest import Linear, Small, frozen
from torch.nn import functional as F

from fdbench import randomness, verdict
from fdbench.attacks.transfer import Ensemble, craft
from fdbench.threat import Threat
from fdbench.types import Batch

EPS, SEED = 8 / 255, 7
THREAT = Threat("linf", EPS)


def nets() -> Ensemble:
    return Ensemble((frozen(Small(5, seed=0)), frozen(Small(5, seed=1))), (1.0, 3.0))


def mef(batch: Batch, **knobs: Any) -> torch.Tensor:
    return craft("mef", nets(), batch, THREAT, knobs, seed=SEED)


def written_out(batch: Batch, i: int, *, iters: int, neighbours: int) -> torch.Tensor:
    """Image i alone, in double precision, with the published settings in numbers.

    x~ = x_t + U(-2 eps, 2 eps) + 0.15 eps p_t,  g = grad L(x~),  p_t+1 = g / mean|g| - 0.9 p_t for
    each neighbour; v_t+1 = 0.5 v_t + G / mean|G| for their mean G; a step of eps / 10 along its
    sign.
    """
    parts = [frozen(Small(5, seed).double()) for seed in (0, 1)]
    x = batch.x[i : i + 1].double()
    clean = ((parts[0](x) + 3 * parts[1](x)) / 4).argmax(1)
    adv, velocity = x.clone(), torch.zeros_like(x)
    inversions = torch.zeros(neighbours, *x.shape[1:], dtype=torch.float64)
    for t in range(iters):
        draws = [
            randomness.uniform(SEED, f"mef-{t}-{k}", [batch.ids[i]], (x[0].numel(),))
            for k in range(neighbours)
        ]
        numbers = torch.stack([torch.from_numpy(row).double().view_as(x[0]) for row in draws])
        near = adv + 2 * EPS * (2 * numbers - 1) + 0.15 * EPS * inversions
        near.requires_grad_()
        logits = (parts[0](near) + 3 * parts[1](near)) / 4
        loss = F.cross_entropy(logits, clean.expand(neighbours), reduction="sum")
        (grads,) = torch.autograd.grad(loss, near)
        sizes = grads.abs().mean((1, 2, 3), keepdim=True)
        inversions = grads / sizes - 0.9 * inversions
        mean = grads.mean(0, keepdim=True)
        velocity = 0.5 * velocity + mean / mean.abs().mean()
        adv = adv + EPS / 10 * velocity.sign()
        adv = torch.minimum(torch.maximum(adv, x - EPS), x + EPS).clamp(0, 1)
    return adv[0]


def test_it_is_the_published_update_written_out(batch: Batch) -> None:
    """A sign may fall the other way where a velocity is zero but for rounding: hence a share."""
    adv = mef(batch, iters=5, neighbours=3)
    wanted = torch.stack([written_out(batch, i, iters=5, neighbours=3) for i in range(12)])
    near = (adv.double() - wanted).abs() < 1e-6
    assert near.double().mean() > 0.995
    assert near.flatten(1).all(1).sum() >= 10


@pytest.mark.parametrize("knob", [{"xi": 0.0}, {"inner_mu": 0.0}, {"radius": 1.5}, {"mu": 1.0}])
def test_each_of_its_settings_matters_to_the_reference(
    batch: Batch, knob: dict[str, float]
) -> None:
    """Else the test above could not tell them apart."""
    adv = mef(batch, iters=5, neighbours=3, **knob)
    wanted = torch.stack([written_out(batch, i, iters=5, neighbours=3) for i in range(12)])
    assert ((adv.double() - wanted).abs() < 1e-6).double().mean() < 0.98


@pytest.mark.parametrize("neighbours", [1, 3])
def test_without_a_neighbourhood_it_is_momentum(batch: Batch, neighbours: int) -> None:
    """Every neighbour is the image itself then; one makes the same numbers bit for bit."""
    settings: dict[str, Any] = {"iters": 6, "mu": 0.5, "step": 0.1}
    plain = craft("momentum", nets(), batch, THREAT, settings, seed=SEED)
    adv = mef(batch, **settings, radius=0.0, xi=0.0, neighbours=neighbours)
    if neighbours == 1:
        assert torch.equal(adv, plain)
    assert ((adv - plain).abs() < 1e-6).double().mean() > 0.995
    assert not torch.equal(plain, mef(batch, **settings, neighbours=neighbours))


def test_without_neighbourhood_and_momentum_it_is_iterative_fgsm(batch: Batch) -> None:
    settings: dict[str, Any] = {"iters": 6, "step": 0.1}
    plain = craft("ifgsm", nets(), batch, THREAT, settings, seed=SEED)
    adv = mef(batch, **settings, radius=0.0, xi=0.0, neighbours=1, mu=0.0)
    assert torch.equal(adv, plain)


def test_directions_first_matter_in_the_second_step(batch: Batch) -> None:
    """They are 0 in the first, whatever xi is."""
    settings: dict[str, Any] = {"neighbours": 3, "step": 0.1}
    far, near = ({**settings, "xi": xi} for xi in (2.0, 0.0))
    assert torch.equal(mef(batch, iters=1, **far), mef(batch, iters=1, **near))
    assert not torch.equal(mef(batch, iters=2, **far), mef(batch, iters=2, **near))


def test_on_a_linear_network_of_two_classes_neighbours_change_nothing(batch: Batch) -> None:
    """Its gradient has the same direction everywhere: all of MEF is the sign of one vector."""
    net = frozen(Linear(2, 8, seed=3))
    linear = Ensemble((net,), (1.0,))
    settings: dict[str, Any] = {"iters": 4, "step": 0.1, "neighbours": 3}
    adv = craft("mef", linear, batch, THREAT, settings, seed=SEED)
    away = net.get_submodule("fc").weight.diff(dim=0).view(1, 3, 8, 8)  # type: ignore[operator]
    signs = torch.where(linear.predict(batch.x) == 1, -1.0, 1.0).view(-1, 1, 1, 1)
    wanted = (batch.x + 0.4 * EPS * (signs * away).sign()).clamp(0, 1)
    torch.testing.assert_close(adv, wanted, atol=1e-6, rtol=0)


def test_a_flat_network_leaves_images_alone_and_nothing_becomes_nan(batch: Batch) -> None:
    net = frozen(Linear(5, 8, seed=0))
    with torch.no_grad():
        net.get_submodule("fc").weight.zero_()  # type: ignore[operator]
    adv = craft("mef", Ensemble((net,), (1.0,)), batch, THREAT, {"iters": 3}, seed=SEED)
    assert torch.equal(adv, batch.x)


def test_parts_of_a_batch_get_the_images_of_the_whole_over_all_iterations(batch: Batch) -> None:
    """Each neighbour's direction is its image's own: in another order and company, too."""
    whole = mef(batch, neighbours=4)
    verdict.check(whole, batch.x, THREAT)
    assert (whole - batch.x).abs().max() > 0.99 * EPS
    order = torch.tensor([5, 0, 11, 3])
    ids = tuple(batch.ids[i] for i in order.tolist())
    some = mef(Batch(batch.x[order], batch.label[order], ids), neighbours=4)
    torch.testing.assert_close(some, whole[order], atol=1e-6, rtol=0)
