"""Attacks as functions of (net, images, labels)."""

from typing import Any

import pytest
import torch
from torch import nn

import fdbench
from fdbench.errors import BadValue, FdbenchError
from fdbench.types import Batch


def test_pgd_returns_legal_images_with_a_higher_loss(tiny_net: nn.Module, batch: Batch) -> None:
    adv = fdbench.pgd(tiny_net, batch.x, batch.label, eps=0.1, alpha=0.02, iters=10)
    assert (adv - batch.x).abs().max() <= 0.1 + 1e-6
    loss = nn.functional.cross_entropy
    assert loss(tiny_net(adv), batch.label) > loss(tiny_net(batch.x), batch.label)


def test_a_bfloat16_attack_is_nearly_as_strong(tiny_net: nn.Module, batch: Batch) -> None:
    def loss(precision: str) -> float:
        adv = fdbench.pgd(
            tiny_net, batch.x, batch.label, eps=0.1, alpha=0.02, iters=10, precision=precision
        )
        return float(nn.functional.cross_entropy(tiny_net(adv), batch.label))

    clean = float(nn.functional.cross_entropy(tiny_net(batch.x), batch.label))
    assert loss("bf16") - clean > 0.8 * (loss("fp32") - clean) > 0


def test_a_network_in_training_mode_is_refused(tiny_net: nn.Module, batch: Batch) -> None:
    with pytest.raises(FdbenchError, match=r"net\.eval\(\)"):
        fdbench.pgd(tiny_net.train(), batch.x, batch.label, eps=0.1, iters=1)


def test_given_targets_are_the_ones_approached(tiny_net: nn.Module, batch: Batch) -> None:
    targets = (batch.label + 1) % 5
    adv = fdbench.pgd(
        tiny_net, batch.x, batch.label, eps=0.2, iters=30, targeted=True, targets=targets
    )
    loss = nn.functional.cross_entropy
    assert loss(tiny_net(adv), targets) < loss(tiny_net(batch.x), targets)


def test_the_seed_decides_the_start(tiny_net: nn.Module, batch: Batch) -> None:
    def run(seed: int) -> torch.Tensor:
        return fdbench.pgd(tiny_net, batch.x, batch.label, eps=0.1, iters=1, seed=seed)

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


def test_images_outside_the_box_are_refused_with_the_likely_cause(
    tiny_net: nn.Module, batch: Batch
) -> None:
    with pytest.raises(FdbenchError, match="divide by 255"):
        fdbench.pgd(tiny_net, 255 * batch.x, batch.label, eps=0.1, iters=1)


@pytest.mark.parametrize("targeted", [False, True])
def test_each_image_keeps_its_worst_restart(
    tiny_net: nn.Module, batch: Batch, targeted: bool
) -> None:
    label = tiny_net(batch.x).argmax(1)
    targets = (label + 1) % 5 if targeted else None

    def attack(restarts: int) -> torch.Tensor:
        return fdbench.pgd(
            tiny_net, batch.x, label, eps=0.5, alpha=0.1, iters=2, restarts=restarts,
            targeted=targeted, targets=targets,
        )  # fmt: skip

    def reached(adv: torch.Tensor) -> torch.Tensor:
        pred = tiny_net(adv).argmax(1)
        return pred == targets if targets is not None else pred != label

    once, often = attack(1), attack(8)
    assert torch.equal(attack(1), once)
    assert (reached(often) >= reached(once)).all()
    assert reached(often).sum() > reached(once).sum()
    assert (often - batch.x).abs().max() <= 0.5 + 1e-6


def test_eot_steps_along_the_mean_gradient_of_several_passes(
    tiny_net: nn.Module, batch: Batch
) -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Counting.calls += x.requires_grad
            return tiny_net(x)

    net = Counting().eval()
    adv = fdbench.pgd(net, batch.x, batch.label, eps=0.1, iters=3, eot=4)
    assert Counting.calls - 2 == 3 * 4, "two more compare the network with its fast copy"
    plain = fdbench.pgd(net, batch.x, batch.label, eps=0.1, iters=3)
    assert torch.allclose(adv, plain, atol=1e-6), "the mean of equal gradients is one of them"


def test_settings_that_contradict_each_other_are_refused(tiny_net: nn.Module, batch: Batch) -> None:
    def refused(message: str, **settings: Any) -> None:
        with pytest.raises(BadValue, match=message):
            fdbench.pgd(tiny_net, batch.x, batch.label, eps=0.1, iters=1, **settings)

    refused("untargeted", targets=(batch.label + 1) % 5)
    refused("the same clean start", restarts=2, clean_start=True)
    refused("--eot must be 1 or more", eot=0)
    refused("no loss 'cw'", loss="cw")


ANY_ATTACK: dict[str, Any] = {
    "pgd": lambda net, x, label, **size: fdbench.pgd(net, x, label, iters=1, **size),
    "autoattack": lambda net, x, label, **size: fdbench.autoattack(net, x, label, **size),
    "foolbox": lambda net, x, label, norm, eps: fdbench.foolbox(
        net, x, label, attack=f"{norm.title()}FastGradientAttack", eps=eps
    ),
    "attack": lambda net, x, label, **size: fdbench.attack("pgd", net, x, label, **size),
    "transfer": lambda net, x, label, **size: fdbench.transfer([net], x, **size),
}


@pytest.mark.parametrize("name", ANY_ATTACK)
@pytest.mark.parametrize(
    ("norm", "eps", "line"),
    [
        ("linf", 8.0, "Did you mean --eps 8/255?"),
        ("linf", 0.0, "greater than zero"),
        ("l2", 8 / 255, "Usual: --norm l2 --eps 0.5 at 32 px"),
    ],
)
def test_every_function_refuses_the_eps_that_the_command_line_refuses(
    name: str, norm: str, eps: float, line: str, tiny_net: nn.Module, batch: Batch
) -> None:
    with pytest.raises(BadValue) as refused:
        ANY_ATTACK[name](tiny_net, batch.x, batch.label, norm=norm, eps=eps)
    assert line in refused.value.message


def test_a_step_above_the_range_of_a_pixel_is_refused(tiny_net: nn.Module, batch: Batch) -> None:
    with pytest.raises(BadValue, match="Did you mean --alpha 2/255"):
        fdbench.pgd(tiny_net, batch.x, batch.label, eps=0.1, alpha=2.0, iters=1)
