"""Masking operations are found from a network's modules, and passed by the identity."""

import pytest
import torch
from conftest import frozen
from torch import Tensor, nn

from fdbench.attacks.way_back import BlockFree, identity_back, masking_operations
from fdbench.errors import NoGradient
from fdbench.models.denoise import DESIGNS, DenoiseBlock
from fdbench.models.resnet import build
from fdbench.specs import ModelSpec


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (8 * x).round() / 8


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach().clone()


class Largest(nn.Module):
    """k-WTA: the largest tenth of the activations passes (Xiao et al. 2020)."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        least = flat.topk(flat.shape[1] // 10, 1).values[:, -1:]
        return torch.where(flat >= least, flat, 0.0).view_as(x)


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5) / 0.25


class Half(nn.Module):
    """Changes the shape, which no identity can replace."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, ::2, ::2]


def network(operation: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), operation, nn.Conv2d(8, 4, 3, padding=1),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip
    frozen(net)
    return net


def test_a_block_free_copy_is_the_network_without_its_blocks_which_it_keeps() -> None:
    torch.manual_seed(0)
    block = DenoiseBlock(8, Largest(), DESIGNS["full"])
    net, plain = network(block), network(nn.Identity())
    before = net(X)
    copy = BlockFree(net)
    assert torch.equal(copy(X), plain(X))
    assert torch.equal(net(X), before)
    assert not torch.equal(before, plain(X))
    assert not BlockFree(plain).blocks


X = torch.rand((4, 3, 8, 8), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("operation", "found"),
    [
        *((one, True) for one in (Rounded(), Detached(), Largest(), nn.Hardshrink(0.2))),
        *((one, False) for one in (Scaled(), Half(), nn.ReLU(), nn.Identity())),
    ],
    ids=lambda one: type(one).__name__,
)
def test_operations_that_mask_their_gradient_are_found(operation: nn.Module, found: bool) -> None:
    assert masking_operations(network(operation), X) == ([operation] if found else [])


@pytest.mark.parametrize("operation", [Rounded(), Detached(), Largest()])
def test_the_way_back_is_the_identity_and_the_way_forth_unchanged(operation: nn.Module) -> None:
    net, plain = network(operation), network(nn.Identity())
    leaf, other = X.clone().requires_grad_(), X.clone().requires_grad_()
    with identity_back(masking_operations(net, X)):
        logits = net(leaf)
        (grad,) = torch.autograd.grad(logits[:, 0].sum(), leaf)
    assert torch.equal(logits, net(X))
    (wanted,) = torch.autograd.grad(plain(other)[:, 0].sum(), other)
    torch.testing.assert_close(grad, wanted)
    assert not net[1]._forward_hooks, "the hooks are gone"


class Refusing(nn.Module):
    """As the evaluation's watch: a cut gradient is an error."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        if x.requires_grad and not logits.requires_grad:
            raise NoGradient
        return logits


def test_operations_that_cut_the_gradient_are_found() -> None:
    operation = Detached()
    assert masking_operations(Refusing(network(operation)), X) == [operation]


@pytest.mark.parametrize("denoise", ["median", "nonlocal-gauss", "nonlocal-dot", "bilateral-dot"])
def test_the_denoising_operations_of_our_networks_are_found(denoise: str) -> None:
    net = frozen(build(ModelSpec("r20", denoise, width=2, classes=5, px=8), seed=0))
    for module in net.modules():  # a block begins as the identity: its operation is not used yet
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    found = masking_operations(net, X)
    assert found
    assert {type(one).__module__ for one in found} == {"fdbench.models.denoise"}
