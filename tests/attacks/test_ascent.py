"""Auto-PGD's ascent: the package's iterates, optima in closed form, each image on its own."""

from typing import Any

import pytest
import torch
from conftest import Linear, Small, frozen
from torch import Tensor, nn

from fdbench.attacks.ascent import Climb, climb
from fdbench.attacks.front import Momentum, onto
from fdbench.attacks.losses import Loss, cross_entropy, dlr, margin
from fdbench.attacks.pgd import random_start
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels

THREATS = {"linf": Threat("linf", 8 / 255), "l2": Threat("l2", 0.5), "l1": Threat("l1", 6.0)}
PACKAGES = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def starts(batch: Batch, threat: Threat) -> Images:
    unit = random_start(batch.ids, batch.x, threat, "test", 0)
    return onto(threat, unit, batch.x)


def climbed(net: nn.Module, batch: Batch, threat: Threat, **changes: Any) -> Climb:
    settings: dict[str, Any] = {
        "start": starts(batch, threat), "iters": 20, "loss": cross_entropy, **changes,
    }  # fmt: skip
    return climb(net, batch.x, batch.label, threat, **settings)


def of_package(
    net: nn.Module, batch: Batch, threat: Threat, loss: str, iters: int, target: Labels | None
) -> tuple[Images, Tensor]:
    """The best points and losses of the package's single run from the same starts."""
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    kind = APGDAttack if target is None else APGDAttack_targeted
    knobs = {"loss": loss} if target is None else {}
    attack = kind(
        net, n_iter=iters, norm=PACKAGES[threat.norm], eps=threat.eps, device="cpu", **knobs
    )
    attack.init_hyperparam(batch.x)
    attack.y_target = target
    best, _, value, _ = attack.attack_single_run(batch.x, batch.label, x_init=starts(batch, threat))
    return best.detach(), value.detach()


@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.parametrize("iters", [1, 2, 5, 17, 40, 100])
@pytest.mark.parametrize(("name", "loss"), [("ce", cross_entropy), ("dlr", dlr)])
@pytest.mark.filterwarnings("ignore:there are")  # zero gradients where the label ranks third
def test_it_takes_the_packages_steps(
    batch: Batch, norm: str, iters: int, name: str, loss: Loss
) -> None:
    net, threat = frozen(Small()), THREATS[norm]
    mine = climbed(net, batch, threat, iters=iters, loss=loss)
    best, value = of_package(net, batch, threat, name, iters, None)
    # An l2 step divides by the gradient's length: rounding, which processors do in ways of their
    # own, grows with the iterations.
    exact = norm != "l2" or iters < 40
    torch.testing.assert_close(mine.adv, best, atol=1e-6 if exact else 1e-3, rtol=0)
    close = 1e-6 if exact else 1e-4
    torch.testing.assert_close(mine.value, value, atol=close, rtol=close)


@pytest.mark.parametrize("norm", THREATS)
@pytest.mark.filterwarnings("ignore:there are")
def test_it_takes_the_packages_steps_towards_a_class(batch: Batch, norm: str) -> None:
    net, threat = frozen(Small()), THREATS[norm]
    target = (batch.label + 1) % 5
    mine = climbed(net, batch, threat, iters=30, loss=dlr, target=target)
    best, value = of_package(net, batch, threat, "dlr-targeted", 30, target)
    torch.testing.assert_close(mine.adv, best, atol=1e-3, rtol=0)
    torch.testing.assert_close(mine.value, value, atol=1e-4, rtol=1e-4)


def test_checkpoints_are_those_of_the_paper() -> None:
    """Sec. 3.2 with N = 100: 22, then 19 later, and so on, never closer than 6."""
    ends = sorted(Momentum.checkpoints(100))
    assert ends == [22, 41, 57, 70, 80, 87, 93, 99]
    assert [Momentum.checkpoints(100)[end] for end in ends] == [22, 19, 16, 13, 10, 7, 6, 6]


def optimum(net: Linear, batch: Batch, threat: Threat, target: Labels) -> Tensor:
    """The highest margin of a linear network inside the ball, where the box does not matter."""
    weight = net.fc.weight[target] - net.fc.weight[batch.label]
    gap = net(batch.x).gather(1, target[:, None]) - net(batch.x).gather(1, batch.label[:, None])
    dual = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}[threat.norm]
    size = weight.norm(p=dual, dim=1)
    return gap[:, 0] + threat.eps * size


def two_logits(logits: Tensor, label: Labels, target: Labels | None) -> Tensor:
    assert target is not None
    return (logits.gather(1, target[:, None]) - logits.gather(1, label[:, None]))[:, 0]


def linear_case() -> tuple[Linear, Batch, Labels]:
    net = Linear(4, 6, seed=0)
    frozen(net)
    x = 0.3 + 0.4 * torch.rand((8, 3, 6, 6), generator=torch.Generator().manual_seed(0))
    batch = Batch(x, torch.arange(8) % 4, tuple(range(8)))
    return net, batch, (batch.label + 1) % 4


@pytest.mark.parametrize(
    "threat", [Threat("linf", 0.02), Threat("l2", 0.3)], ids=lambda one: one.norm
)
def test_a_linear_networks_optimum_is_reached(threat: Threat) -> None:
    net, batch, target = linear_case()
    result = climbed(net, batch, threat, iters=30, loss=two_logits, target=target)
    torch.testing.assert_close(
        result.value, optimum(net, batch, threat, target), rtol=1e-3, atol=1e-4
    )


def test_nine_tenths_of_a_linear_networks_optimum_are_reached_in_l1() -> None:
    """All of it is one value; of two values, both are among the next step's (Algorithm 1)."""
    net, batch, target = linear_case()
    threat = Threat("l1", 0.25)
    result = climbed(net, batch, threat, iters=100, loss=two_logits, target=target)
    clean = two_logits(net(batch.x), batch.label, target)
    most = optimum(net, batch, threat, target)
    assert (result.value <= most + 1e-6).all()
    assert (result.value - clean >= 0.9 * (most - clean)).all()
    assert threat.distance(result.adv, batch.x).max() <= threat.eps + 1e-6


def by_itself(net: nn.Module) -> Any:
    return lambda adv, index: net(adv).argmax(1)


@pytest.mark.parametrize("norm", THREATS)
def test_no_image_depends_on_the_others(batch: Batch, norm: str) -> None:
    net, threat = frozen(Small()), THREATS[norm]
    batch = Batch(batch.x, net(batch.x).argmax(1), batch.ids)
    together = climbed(net, batch, threat, loss=margin, judge=by_itself(net))
    for i in range(len(batch.ids)):
        one = Batch(batch.x[i : i + 1], batch.label[i : i + 1], batch.ids[i : i + 1])
        alone = climbed(net, one, threat, loss=margin, judge=by_itself(net))
        assert bool(alone.broken[0]) == bool(together.broken[i])
        assert int(alone.passes[0]) == int(together.passes[i])
        assert int(alone.step[0]) == int(together.step[i])
        # Convolutions round differently in batches of another size; l2 lets that grow.
        far = 1e-3 if norm == "linf" else 1e-2
        torch.testing.assert_close(alone.adv[0], together.adv[i], atol=far, rtol=0)


class Counting(nn.Module):
    """Counts the passes of each image: one forward, one back."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.passes = net, 0

    def forward(self, x: Images) -> Tensor:
        self.passes += len(x) * (2 if x.requires_grad else 1)
        logits: Tensor = self.net(x)
        return logits


def test_broken_images_leave_at_their_first_wrong_iterate_and_passes_are_those_made(
    batch: Batch,
) -> None:
    net = frozen(Small())
    counted = Counting(net)
    batch = Batch(batch.x, net(batch.x).argmax(1), batch.ids)
    result = climbed(counted, batch, Threat("linf", 0.3), loss=margin, judge=by_itself(counted))
    assert result.broken.any()
    assert int(result.passes.sum()) == counted.passes
    assert (net(result.adv[result.broken]).argmax(1) != batch.label[result.broken]).all()
    assert (net(result.adv[~result.broken]).argmax(1) == batch.label[~result.broken]).all()
    assert (result.passes[~result.broken] == 2 * 20 + 1).all()
    early = result.broken & (result.step < 20)
    assert early.any()
    assert (result.passes[early] == 2 * (result.step[early] + 1) + 1).all()


def test_the_judge_has_the_last_word(batch: Batch) -> None:
    net = frozen(Small())
    stubborn = climbed(
        net, batch, THREATS["linf"], loss=margin, judge=lambda adv, index: batch.label[index]
    )
    assert not stubborn.broken.any()
