"""AutoAttack's Auto-PGD and Square, as they run here, against the package's own runs."""

from typing import Any

import pytest
import torch
from conftest import frozen
from test_ascent import Counting
from test_autoattack import Wavy, images
from torch import Tensor, nn

from fdbench.attacks.autoattack.apgd import LOSSES, NORMS, auto_pgd
from fdbench.attacks.autoattack.square import square_attack
from fdbench.threat import Threat
from fdbench.types import Images, Labels
from fdbench.verdict import check

EPS = {"linf": 0.004, "l2": 0.06}
NAMES = {"linf": "Linf", "l2": "L2"}
PACKAGES = {"apgd-ce": "ce", "apgd-dlr": "dlr"}  # the names of their losses


def package_apgd(net: nn.Module, norm: str, attack: str, restarts: int) -> Any:
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    shared = {
        "norm": NAMES[norm], "n_iter": 20, "n_restarts": restarts, "eps": EPS[norm], "seed": 3,
        "device": torch.device("cpu"),
    }  # fmt: skip
    if attack == "apgd-t":
        return APGDAttack_targeted(net, n_target_classes=4, **shared)
    return APGDAttack(net, loss=PACKAGES[attack], **shared)


def agrees(net: nn.Module) -> Any:
    """A judge that is the attacked network."""
    return lambda adv, index: net(adv).argmax(1)


def right(net: nn.Module) -> tuple[Tensor, Tensor]:
    """The images that a network gets right, and their labels."""
    batch = images(net)
    keep = net(batch.x).argmax(1) == batch.label
    return batch.x[keep], batch.label[keep]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", LOSSES)
@pytest.mark.parametrize("restarts", [1, 2])
def test_auto_pgd_breaks_the_images_that_the_package_breaks(
    norm: str, attack: str, restarts: int
) -> None:
    net, threat = frozen(Wavy()), Threat(norm, EPS[norm])
    x, label = right(net)
    theirs = package_apgd(net, norm, attack, restarts).perturb(x, label)
    torch.manual_seed(3)
    mine = auto_pgd(
        net, x, label, threat, attack=attack, iters=20, restarts=restarts,
        targets=4 if attack == "apgd-t" else 1, judge=agrees(net),
    )  # fmt: skip
    broken, wanted = (net(adv).argmax(1) != label for adv in (mine, theirs))
    assert torch.equal(broken, wanted)
    assert 0 < broken.sum() < len(x)
    check(mine, x, threat)
    assert torch.equal(mine[~broken], x[~broken])


def test_the_numbers_drawn_are_the_packages_whatever_breaks() -> None:
    net = frozen(Wavy())
    x, label = right(net)
    after = []
    for run in (
        lambda: package_apgd(net, "linf", "apgd-t", 1).perturb(x, label),
        lambda: auto_pgd(
            net, x, label, Threat("linf", EPS["linf"]), attack="apgd-t", iters=20, restarts=1,
            targets=4, judge=agrees(net),
        ),
    ):  # fmt: skip
        torch.manual_seed(3)
        run()
        after.append(torch.rand(3))
    assert torch.equal(after[0], after[1])


def test_broken_images_leave_the_attack() -> None:
    net = frozen(Wavy())
    x, label = right(net)
    counted = Counting(net)
    auto_pgd(
        counted, x, label, Threat("linf", 1.0), attack="apgd-ce", iters=20, restarts=1, targets=1,
        judge=agrees(net),
    )  # fmt: skip
    assert counted.passes < 5 * len(x)  # of 21 with their gradients


@pytest.mark.parametrize("eps", [0.004, 0.02])
def test_square_breaks_the_images_that_the_package_breaks(eps: float) -> None:
    from pyautoattack.square import SquareAttack

    net, threat = frozen(Wavy()), Threat("linf", eps)
    x, label = right(net)
    theirs = SquareAttack(
        net, norm="Linf", n_queries=600, eps=eps, seed=3, resc_schedule=False, device=x.device
    ).perturb(x, label)
    torch.manual_seed(3)
    mine = square_attack(net, x, label, threat, queries=600, judge=agrees(net))
    broken, wanted = (net(adv).argmax(1) != label for adv in (mine, theirs))
    assert torch.equal(broken, wanted)
    assert 0 < broken.sum() <= len(x)
    torch.testing.assert_close(mine[broken], theirs[broken], atol=1e-6, rtol=0)
    check(mine, x, threat)
    assert torch.equal(mine[~broken], x[~broken])


def test_square_never_lowers_the_margin_and_asks_the_judge() -> None:
    net, seen = frozen(Wavy()), list[int]()
    x, label = right(net)

    def refuses(adv: Images, index: Labels) -> Labels:
        seen.append(len(index))
        return label[index]

    torch.manual_seed(3)
    mine = square_attack(net, x, label, Threat("linf", 0.02), queries=100, judge=refuses)
    assert torch.equal(mine, x)
    assert sum(seen) > 0
