import copy

import pytest
import torch
from conftest import Small, frozen
from torch import nn

from fdbench.errors import BadValue
from fdbench.models.fast import Folded, accelerate
from fdbench.types import Batch


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def test_the_fast_copy_computes_the_same_without_batch_norm(
    tiny_net: nn.Module, batch: Batch
) -> None:
    fast, why_not = accelerate(tiny_net, batch.x)
    assert why_not is None
    assert norms(fast) == 0
    assert norms(tiny_net) == 2
    assert torch.allclose(fast(batch.x), tiny_net(batch.x), atol=1e-6)


def test_gradients_of_the_fast_copy_are_the_originals(tiny_net: nn.Module, batch: Batch) -> None:
    fast, _ = accelerate(tiny_net, batch.x)
    x = batch.x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(tiny_net(x).square().sum(), x)
    (got,) = torch.autograd.grad(fast(x).square().sum(), x)
    assert torch.allclose(got, wanted, atol=1e-5)


def test_a_refreshed_copy_follows_new_weights_and_statistics(batch: Batch) -> None:
    net = frozen(Small(seed=0))
    folded = Folded(net, batch.x)
    net.load_state_dict(Small(seed=1).state_dict())
    assert not torch.allclose(folded.net(batch.x), net(batch.x), atol=1e-3)
    folded.refresh()
    assert torch.allclose(folded.net(batch.x), net(batch.x), atol=1e-6)


class Branching(Small):
    """Uses a convolution's output outside its batch norm, so the two can't be folded."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.conv1(x)
        y = torch.relu(self.bn1(made) + made)
        return self.head(torch.relu(self.bn2(self.conv2(y))))


def test_a_network_that_cannot_be_folded_is_returned_with_the_reason(batch: Batch) -> None:
    net = frozen(Branching())
    fast, why_not = accelerate(net, batch.x)
    assert fast is net
    assert why_not is not None
    assert "computes something else" in why_not


class Shared(Small):
    """Runs one convolution twice, once without the batch norm."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x))) + self.conv1(x)
        return self.head(torch.relu(self.bn2(self.conv2(y))))


def test_a_convolution_that_runs_twice_keeps_its_batch_norm(batch: Batch) -> None:
    net = frozen(Shared())
    fast, why_not = accelerate(net, batch.x)
    assert why_not is None
    assert norms(fast) == 1
    assert torch.allclose(fast(batch.x), net(batch.x), atol=1e-6)


def test_the_original_is_unchanged(tiny_net: nn.Module, batch: Batch) -> None:
    before = copy.deepcopy(tiny_net.state_dict())
    accelerate(tiny_net, batch.x)
    assert all(torch.equal(before[name], t) for name, t in tiny_net.state_dict().items())


def test_a_bfloat16_copy_computes_nearly_the_same_and_returns_float32(
    tiny_net: nn.Module, batch: Batch
) -> None:
    low, why_not = accelerate(tiny_net, batch.x, "bf16")
    assert why_not is None
    wanted, got = tiny_net(batch.x), low(batch.x)
    assert got.dtype == torch.float32
    assert not torch.equal(got, wanted)
    assert (got - wanted).abs().max() < 0.05 * wanted.abs().max()
    assert next(tiny_net.parameters()).dtype == torch.float32


def test_an_unknown_precision_is_refused(tiny_net: nn.Module, batch: Batch) -> None:
    with pytest.raises(BadValue, match="no precision 'fp16'"):
        accelerate(tiny_net, batch.x, "fp16")


def test_the_reference_is_the_network_itself(tiny_net: nn.Module, batch: Batch) -> None:
    same, why_not = accelerate(tiny_net, batch.x, "reference")
    assert same is tiny_net
    assert why_not is None


class Doubled(nn.Module):
    """What a compiler with a bug would return."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * self.net(x)


def test_a_compiled_copy_is_taken_only_if_it_computes_the_same(
    tiny_net: nn.Module, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[nn.Module] = []

    def compiler(net: nn.Module) -> nn.Module:
        compiled.append(net)
        return nn.Sequential(net)

    monkeypatch.setattr(torch, "compile", compiler)
    fast, why_not = accelerate(tiny_net, batch.x, compiled=True)
    assert why_not is None
    assert isinstance(fast, nn.Sequential)
    assert norms(compiled[0]) == 0, "folded first"
    monkeypatch.setattr(torch, "compile", Doubled)
    fast, why_not = accelerate(tiny_net, batch.x, compiled=True)
    assert why_not == "attacked uncompiled: the compiled copy differs"
    assert torch.allclose(fast(batch.x), tiny_net(batch.x), atol=1e-6)


def test_a_compiler_that_fails_leaves_the_copy_uncompiled_with_the_reason(
    tiny_net: nn.Module, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise TypeError("unsupported operator")

    monkeypatch.setattr(torch, "compile", lambda net: Broken())
    fast, why_not = accelerate(tiny_net, batch.x, compiled=True)
    assert why_not == ("attacked uncompiled: torch.compile fails (TypeError: unsupported operator)")
    assert torch.allclose(fast(batch.x), tiny_net(batch.x), atol=1e-6)
