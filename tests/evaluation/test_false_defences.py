"""Defences that only hide the gradient: the doctor names what each of them hides."""

from collections.abc import Callable

import pytest
import torch
from conftest import frozen
from false_defences import KINDS
from masked import LargestShare, MeanSparse
from overfitted import overfitted
from test_doctor import Features
from test_observation import NearestMean
from torch import Tensor, nn

from fdbench.data import open_data
from fdbench.evaluation.doctor import CHECKS, examine
from fdbench.evaluation.patient import Patient
from fdbench.threat import Threat
from fdbench.types import Batch

FASHION = open_data("fashion-mini", "test")
REASONS = {
    "quantised": "gradients",
    "jpeg": "gradients",
    "thermometer": "gradients",
    "times-10000": "gradients",
    "temperature-100": "gradients",
    "noisy": "randomness",
    "shattered": "gradient against steps",
}


def examined(net: nn.Module, check: str) -> tuple[str, str]:
    patient = Patient(frozen(net), FASHION.fetch(range(40)), Threat("linf", 8 / 255), 10)
    return next((one.verdict, one.found) for one in examine(patient) if one.check == check)


@pytest.mark.parametrize("kind", KINDS)
def test_a_false_defence_fails_the_check_for_what_it_hides_and_the_network_in_it_does_not(
    kind: str,
) -> None:
    verdict, found = examined(KINDS[kind](NearestMean()), REASONS[kind])
    assert verdict == "fail", found
    assert examined(NearestMean(), REASONS[kind])[0] == "pass"


class Activations(nn.Module):
    """Keeps what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return x


OPERATIONS: dict[str, tuple[Callable[[Tensor], nn.Module], str]] = {
    "none": (lambda seen: nn.Identity(), "pass"),
    "k-WTA": (lambda seen: LargestShare(0.3), "fail"),
    "MeanSparse": (lambda seen: MeanSparse(seen, 1.0), "fail"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_that_removes_activations_breaks_the_gradients_promise(name: str) -> None:
    make, wanted = OPERATIONS[name]
    x = torch.rand((60, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    keeping = Activations()
    frozen(Features(keeping))(x)
    net = Features(nn.Identity())
    net.operation = make(
        keeping.seen
    )  # after the parameters are drawn: it has statistics of its own
    frozen(net)
    batch = Batch(x, net(x).argmax(1), tuple(range(60)))
    verdict, found = CHECKS["gradient against steps"](Patient(net, batch, Threat("linf", 0.1), 5))
    assert verdict == wanted, found


class Valley(nn.Module):
    """Right on both sides of a valley: what single-step training ends in, written down."""

    def forward(self, x: Tensor) -> Tensor:
        gap = (x.mean((1, 2, 3)) - 0.5).abs() - 0.02
        return torch.stack([gap, torch.zeros_like(gap)], 1)


def test_a_network_that_only_the_end_of_a_step_does_not_break_fails() -> None:
    x = torch.full((40, 3, 8, 8), 0.55)
    batch = Batch(x, torch.zeros(40, dtype=torch.int64), tuple(range(40)))
    for eps, wanted in ((0.1, "fail"), (0.04, "pass")):
        verdict, found = CHECKS["one step"](Patient(Valley(), batch, Threat("linf", eps), 2))
        assert verdict == wanted, found


@pytest.mark.slow
def test_catastrophic_overfitting_fails() -> None:
    batch = FASHION.fetch(range(100))
    verdict, found = CHECKS["one step"](
        Patient(frozen(overfitted()), batch, Threat("linf", 0.3), 10)
    )
    assert verdict == "fail", found
    assert "fitted to one step" in found
