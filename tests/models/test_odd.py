"""Networks that are a little odd: each is attacked as what it is, fast or not."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import Small, frozen
from torch import nn
from torch.nn.utils import parametrizations

from fdbench.models.fast import accelerate
from fdbench.types import Batch


class Tutorial(nn.Module):
    """PyTorch's own CIFAR tutorial: flattens by view, which a channels_last tensor refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 16, 3)
        self.bn = nn.BatchNorm2d(6)
        self.fc = nn.Linear(16 * 4 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.conv2(F.relu(self.bn(self.conv1(x)))))
        return self.fc(x.view(-1, 16 * 4 * 4))


class ReadsScale(Small):
    """Reads the batch norm's weight itself, beside calling it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        penalty = self.bn1.weight.abs().sum()
        return self.head(torch.relu(self.bn2(self.conv2(y)))) - penalty


class TwoNames(Small):
    """A convolution and its batch norm under two names each."""

    def __init__(self) -> None:
        super().__init__()
        self.again, self.norm_again = self.conv1, self.bn1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm_again(self.again(x)))
        return self.head(torch.relu(self.bn2(self.conv2(y))))


class Hidden(nn.Module):
    """A huge negative logit, beside logits of usual size that depend on a shared convolution."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(x)
        return torch.cat([logits, torch.full_like(logits[:, :1], -1e9)], 1)


class Branching(Small):
    """Uses a convolution's output outside its batch norm: folded, its logits are other ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.conv1(x)
        y = torch.relu(self.bn1(made) + 0.01 * made)
        return self.head(torch.relu(self.bn2(self.conv2(y))))


def hooked() -> nn.Module:
    """A batch norm whose backward hook turns its gradient round, as a defence might."""
    net = Small()
    net.bn1.register_full_backward_hook(turned)
    return net


def turned(module: nn.Module, given: Any, out: Any) -> Any:
    return (-given[0],)


def old_weight_norm() -> nn.Module:
    net = Small()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(net.conv1)
    return net


def weight_norm() -> nn.Module:
    net = Small()
    parametrizations.weight_norm(net.conv1)
    return net


def spectral_norm() -> nn.Module:
    net = Small()
    parametrizations.spectral_norm(net.conv1)
    return net


class Scripted(nn.Module):
    """A TorchScript module that freezing goes around."""

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.inner = torch.jit.script(frozen(Small()))

    def requires_grad_(self, requires_grad: bool = True) -> "Scripted":
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


ODD: dict[str, Callable[[], nn.Module]] = {
    "view": Tutorial,
    "old weight norm": old_weight_norm,
    "weight norm": weight_norm,
    "spectral norm": spectral_norm,
    "two names": TwoNames,
    "reads the scale": ReadsScale,
    "backward hook": hooked,
    "hidden logit": lambda: Hidden(Branching()),
    "TorchScript": Scripted,
}


def gradient(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    leaf = x.clone().requires_grad_()
    top = net(leaf)[:, :5].topk(2).values
    (grad,) = torch.autograd.grad((top[:, 0] - top[:, 1]).sum(), leaf)
    return grad


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ODD)
def test_an_odd_network_is_attacked_by_its_own_logits_and_gradients(
    name: str, precision: str, batch: Batch
) -> None:
    net = frozen(ODD[name]())
    fast, why_not = accelerate(net, batch.x, precision)
    exact = precision == "fp32" or fast is net
    with torch.no_grad():
        got, wanted = fast(batch.x)[:, :5], net(batch.x)[:, :5]
    give = 1e-4 if exact else 0.1
    assert (got - wanted).abs().max() <= give * wanted.abs().max()
    one, other = gradient(fast, batch.x), gradient(net, batch.x)
    assert (one - other).norm() <= (1e-3 if exact else 0.3) * other.norm()
    if fast is net:
        assert why_not


FOLDED = ("view", "old weight norm", "weight norm", "spectral norm")


@pytest.mark.parametrize("name", FOLDED)
def test_what_can_be_folded_of_an_odd_network_is(name: str, batch: Batch) -> None:
    net = frozen(ODD[name]())
    fast, why_not = accelerate(net, batch.x)
    assert fast is not net
    assert why_not is None


TORCHVISION = (
    "alexnet", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "squeezenet1_1", "vgg11_bn",
)  # fmt: skip


@pytest.mark.parametrize("name", TORCHVISION)
def test_networks_of_torchvision_are_folded_with_their_own_answers(name: str) -> None:
    import torchvision  # slow to import

    torch.manual_seed(0)
    further = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net = frozen(getattr(torchvision.models, name)(num_classes=10, **further))
    px = 75 if name == "inception_v3" else 64
    x = torch.rand((2, 3, px, px), generator=torch.Generator().manual_seed(0))
    fast, why_not = accelerate(net, x)
    assert why_not is None or "computes something else" in why_not
    with torch.no_grad():
        assert torch.equal(fast(x).argmax(1), net(x).argmax(1))
