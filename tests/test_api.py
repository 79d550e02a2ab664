import pytest
import torch
from torch import nn

import fdbench
from fdbench.errors import FdbenchError
from fdbench.types import Batch


def test_pgd_returns_legal_images_that_are_more_wrong(tiny_net: nn.Module, batch: Batch) -> None:
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


def test_given_targets_are_the_ones_climbed(tiny_net: nn.Module, batch: Batch) -> None:
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


def test_only_what_is_public_is_found() -> None:
    with pytest.raises(AttributeError, match="no attribute 'attack'"):
        fdbench.attack  # noqa: B018
