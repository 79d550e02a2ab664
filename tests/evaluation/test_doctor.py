"""Networks that are ill in a known way: each fails the right check."""

import pytest
import torch
from conftest import Linear, frozen
from torch import nn

from fdbench.evaluation import doctor
from fdbench.evaluation.doctor import CHECKS, Patient, examine
from fdbench.threat import Threat
from fdbench.types import Batch


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "QUERIES", 200)


def patient(net: nn.Module, **changes: object) -> Patient:
    """A network and 40 images labelled by a healthy network."""
    x = torch.rand((40, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        label = healthy()(x).argmax(1)
    batch = Batch(x, label, tuple(range(40)))
    return Patient(frozen(net), batch, Threat("linf", 0.1), 5, **changes)  # type: ignore[arg-type]


def healthy() -> nn.Module:
    return Linear(5, 8, seed=0)


def failed(ill: Patient) -> set[str]:
    return {check.check for check in examine(ill) if check.verdict == "fail"}


class Scaled(nn.Module):
    """Logits so large that the softmax's gradient is exactly zero in float32."""

    def __init__(self, inner: nn.Module, factor: float = 1e4) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * self.inner(x)


class Rounded(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner((x * 15).round() / 15)


class Noisy(nn.Module):
    def __init__(self, inner: nn.Module, sigma: float = 0.05) -> None:
        super().__init__()
        self.inner, self.sigma = inner, sigma
        self.rng = torch.Generator().manual_seed(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x + self.sigma * torch.randn(x.shape, generator=self.rng))


class Probabilities(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x).softmax(1)


class Purifying(nn.Module):
    """Moves its input along a gradient of its own before classifying it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (grad,) = torch.autograd.grad(self.inner(leaf).square().sum(), leaf)
        return self.inner(x - 1e-3 * grad)


class BatchMean(nn.Module):
    """As batch norm in training mode: each image's logits depend on the rest of the batch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x - x.mean(0) + 0.5)


def test_a_plain_network_passes_every_check_that_applies() -> None:
    checks = examine(patient(healthy()))
    assert [check.check for check in checks] == list(CHECKS)
    assert [c for c in checks if c.verdict == "fail"] == []
    assert [c.check for c in checks if c.verdict == "skipped"] == ["transfer never beats PGD"]


ILLNESSES: dict[str, tuple[nn.Module, set[str]]] = {
    "scaled": (Scaled(healthy()), {"gradients"}),
    "rounded": (Rounded(healthy()), {"gradients"}),
    "noisy": (Noisy(healthy()), {"deterministic"}),
    "probabilities": (Probabilities(healthy()), {"logits"}),
    "purifying": (Purifying(healthy()), {"no optimisation"}),
    "batch mean": (BatchMean(healthy()), {"batch size changes nothing"}),
}


@pytest.mark.parametrize("name", ILLNESSES)
def test_each_illness_fails_the_right_check(name: str) -> None:
    net, checks = ILLNESSES[name]
    assert checks <= failed(patient(net))


@pytest.mark.parametrize("net", [Scaled(healthy()), Rounded(healthy())], ids=["scaled", "rounded"])
def test_a_masked_gradient_is_beaten_by_a_black_box_attack(net: nn.Module) -> None:
    assert "Square never beats PGD" in failed(patient(net))


def test_a_surrogate_with_an_honest_gradient_beats_pgd_on_a_masked_one() -> None:
    ill = patient(Rounded(healthy()), surrogates=(frozen(healthy()),))
    assert "transfer never beats PGD" in failed(ill)


def test_a_stochastic_network_passes_only_with_eot() -> None:
    assert "deterministic" in failed(patient(Noisy(healthy(), 0.01)))
    assert "deterministic" not in failed(patient(Noisy(healthy(), 0.01), eot=4))


def test_a_network_left_in_training_mode_fails() -> None:
    ill = patient(healthy())
    ill.net.train()
    assert "inference mode" in failed(ill)


def test_clean_accuracy_must_be_the_expected_one() -> None:
    assert "clean accuracy" in failed(patient(healthy(), expected=(60.0, 5.0)))
    assert "clean accuracy" not in failed(patient(healthy(), expected=(99.0, 2.0)))


def test_accuracy_that_rises_with_iterations_fails() -> None:
    ill = patient(healthy())
    vars(ill)["pgd10"] = [False] * 20 + [True] * 20
    vars(ill)["pgd100"] = [True] * 40
    assert CHECKS["iterations never help the network"](ill)[0] == "fail"
    vars(ill)["pgd10"], vars(ill)["pgd100"] = [True] * 40, [False] * 40
    assert CHECKS["iterations never help the network"](ill)[0] == "pass"
