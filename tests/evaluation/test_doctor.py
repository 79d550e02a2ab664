"""Networks that are ill in a known way: each fails the right check."""

import re

import pytest
import torch
from conftest import Linear, frozen
from torch import nn

from fdbench.evaluation import doctor
from fdbench.evaluation.doctor import CHECKS, examine
from fdbench.evaluation.patient import Patient
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


class Squashed(nn.Module):
    """Bounded logits: cross-entropy saturates, the gap between two classes does not."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 10 * torch.tanh(3 * self.inner(x))


class BatchMean(nn.Module):
    """As batch norm in training mode: each image's logits depend on the rest of the batch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x - x.mean(0) + 0.5)


def test_a_plain_network_passes_every_check_that_applies() -> None:
    checks = list(examine(patient(healthy())))
    assert [check.check for check in checks] == list(CHECKS)
    assert [c for c in checks if c.verdict == "fail"] == []
    assert [c.check for c in checks if c.verdict == "skipped"] == ["transfer against PGD"]


ILLNESSES: dict[str, tuple[nn.Module, set[str]]] = {
    "scaled": (Scaled(healthy()), {"gradients"}),
    "rounded": (Rounded(healthy()), {"gradients"}),
    "noisy": (Noisy(healthy()), {"randomness"}),
    "probabilities": (Probabilities(healthy()), {"output"}),
    "purifying": (Purifying(healthy()), {"optimisation"}),
    "batch mean": (BatchMean(healthy()), {"batch size"}),
}


@pytest.mark.parametrize("name", ILLNESSES)
def test_each_illness_fails_the_right_check(name: str) -> None:
    net, checks = ILLNESSES[name]
    assert checks <= failed(patient(net))


class Sure(nn.Module):
    """Logits of which the softmax is nearly certain."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 4 * healthy()(x)


def test_bounded_outputs_that_hide_points_from_cross_entropy_fail() -> None:
    x = torch.rand((200, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    squashed = frozen(Squashed(Sure()))
    batch = Batch(x, squashed(x).argmax(1), tuple(range(200)))
    for net, verdict in ((squashed, "fail"), (frozen(Sure()), "pass")):
        found = CHECKS["other losses"](Patient(net, batch, Threat("linf", 0.05), 5))
        assert found[0] == verdict, found


def test_too_few_images_to_tell_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, right(34))
    made = patient(healthy())
    made.__dict__["pgd100"] = right(38)
    verdict, finding = CHECKS["Square against PGD"](made)
    assert verdict == "skipped"
    assert "40 images are too few to tell (McNemar p 0.12, limit 0.01, needs 8 images" in finding


@pytest.mark.parametrize("net", [Scaled(healthy()), Rounded(healthy())], ids=["scaled", "rounded"])
def test_a_masked_gradient_is_beaten_by_a_black_box_attack(net: nn.Module) -> None:
    assert "Square against PGD" in failed(patient(net))


class Stairs(nn.Module):
    """Rounds to steps: its gradient is zero everywhere."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (4 * x).round() / 4


class Features(nn.Module):
    """A network with an operation on its features."""

    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.first, self.operation, self.last = nn.Conv2d(3, 8, 3), operation, nn.Linear(288, 5)
        with torch.no_grad():
            for tensor in self.state_dict().values():
                tensor.copy_(torch.randn(tensor.shape, generator=rng) / 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.operation(self.first(x - 0.5)).flatten(1))


class Cutting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach().clone()


def featured(operation: nn.Module) -> Patient:
    x = torch.rand((60, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    net = frozen(Features(operation))
    batch = Batch(x, net(x).argmax(1), tuple(range(60)))
    return Patient(net, batch, Threat("linf", 0.04), 5)


@pytest.mark.parametrize(
    ("operation", "verdict", "text"),
    [
        (nn.Identity(), "pass", "no operation of the network's own"),
        (nn.ReLU(), "pass", "no operation of the network's own"),
        (Stairs(), "fail", "with the identity as the gradient of Stairs"),
        (Cutting(), "fail", "Cutting cuts the gradient: PGD-100 with the identity"),
    ],
)
def test_an_operation_that_masks_its_gradient_fails_by_name(
    operation: nn.Module, verdict: str, text: str
) -> None:
    found, finding = CHECKS["another way back"](featured(operation))
    assert found == verdict, finding
    assert text in finding


def test_a_surrogate_with_an_honest_gradient_beats_pgd_on_a_masked_one() -> None:
    ill = patient(Rounded(healthy()), surrogates=(frozen(healthy()),))
    assert "transfer against PGD" in failed(ill)


def test_a_stochastic_network_passes_only_with_eot() -> None:
    assert "randomness" in failed(patient(Noisy(healthy(), 0.01)))
    assert "randomness" not in failed(patient(Noisy(healthy(), 0.01), eot=4))


def test_a_network_left_in_training_mode_fails() -> None:
    ill = patient(healthy())
    ill.net.train()
    assert "inference mode" in failed(ill)


def test_clean_accuracy_must_be_the_expected_one() -> None:
    assert "clean accuracy" in failed(patient(healthy(), expected=(60.0, 5.0)))
    assert "clean accuracy" not in failed(patient(healthy(), expected=(99.0, 2.0)))


def knowing(**known: list[bool]) -> Patient:
    """A patient of whom some verdicts are known already; all 40 images are right elsewhere."""
    made = patient(healthy())
    vars(made).update({"pgd100": [True] * 40, "pgd10": [True] * 40, **known})
    return made


def right(count: int) -> list[bool]:
    return [True] * count + [False] * (40 - count)


def scripted(monkeypatch: pytest.MonkeyPatch, verdicts: list[bool]) -> None:
    """Every attack that is not cached leaves these images right."""
    monkeypatch.setattr(Patient, "right", lambda self, adv: verdicts)


AGAINST_PGD = ["noise against PGD", "Square against PGD", "transfer against PGD"]


@pytest.mark.parametrize("check", AGAINST_PGD)
@pytest.mark.parametrize(
    ("pgd", "other", "verdict", "text"),
    [
        (16, 34, "pass", r"PGD-100 leaves 40.0 %, .* 85.0 %: PGD-100 is stronger$"),
        (34, 34, "pass", r"85.0 %, .* 85.0 %: PGD-100 is as strong$"),
        (36, 34, "pass", r"90.0 %, .* 85.0 %: on 40 images within chance \(McNemar p 0.5, limit"),
        (36, 16, "fail", r"90.0 %, .* 40.0 %: PGD-100 is weaker \(McNemar p 1.9e-06, limit 0.01\)"),
    ],
)
def test_an_attack_that_beats_pgd_fails_and_the_finding_is_the_comparison_tested(
    monkeypatch: pytest.MonkeyPatch, check: str, pgd: int, other: int, verdict: str, text: str
) -> None:
    made = knowing(pgd100=right(pgd))
    made.surrogates = (frozen(healthy()),)
    scripted(monkeypatch, right(other))
    found, finding = CHECKS[check](made)
    assert found == verdict
    assert re.search(text, finding), finding


def test_accuracy_that_rises_with_iterations_fails() -> None:
    examined = CHECKS["10 against 100 iterations"]
    verdict, finding = examined(knowing(pgd10=right(20), pgd100=right(40)))
    assert (verdict, finding) == (
        "fail",
        "PGD-100 leaves 100.0 %, PGD-10 50.0 %: PGD-100 is weaker (McNemar p 1.9e-06, limit 0.01)",
    )
    verdict, finding = examined(knowing(pgd10=right(40), pgd100=right(0)))
    assert (verdict, finding) == (
        "pass",
        "PGD-100 leaves 0.0 %, PGD-10 100.0 %: PGD-100 is stronger",
    )


@pytest.mark.parametrize(
    ("expected", "count", "verdict", "text"),
    [
        (None, 40, "pass", r"^100.0 %, chance 20 %: 60 % or more$"),
        (None, 24, "pass", r"^60.0 %, chance 20 %: 60 % or more$"),
        (None, 23, "fail", r"^57.5 %, chance 20 %: below 60 %; .*--expect-clean$"),
        ((93.0, 1.0), 37, "pass", r"92.5 % .*: 93 \+- 1 %$"),
        ((95.0, 1.0), 37, "pass", r"92.5 % .*: not 95 \+- 1 %, but the 95 % interval reaches that"),
        ((40.0, 1.0), 37, "fail", r"92.5 % .*: not 40 \+- 1 %$"),
    ],
)
def test_clean_accuracy_states_the_range_it_was_compared_with(
    expected: tuple[float, float] | None, count: int, verdict: str, text: str
) -> None:
    made = knowing(clean=right(count))
    made.expected = expected
    found, finding = CHECKS["clean accuracy"](made)
    assert found == verdict
    assert re.search(text, finding), finding


def test_chance_on_two_classes_is_not_enough() -> None:
    made = knowing(clean=right(22))
    made.classes = 2
    verdict, finding = CHECKS["clean accuracy"](made)
    assert (verdict, finding[:42]) == ("fail", "55.0 %, chance 50 %: below 75 %; if it sho")


@pytest.mark.parametrize(
    ("count", "verdict", "text"),
    [
        (0, "pass", r"leaves 0.0 % \[0.0, 8.8\]: at or below chance, 20 %$"),
        (10, "pass", "25.0 % .*: not at or below chance, 20 %, but the 95 % interval reaches that"),
        (40, "fail", "100.0 % .*: not at or below chance, 20 %$"),
    ],
)
def test_accuracy_at_a_large_eps_is_compared_with_chance(
    monkeypatch: pytest.MonkeyPatch, count: int, verdict: str, text: str
) -> None:
    scripted(monkeypatch, right(count))
    found, finding = CHECKS["large eps"](patient(healthy()))
    assert found == verdict
    assert re.search(text, finding), finding


class Constant(nn.Module):
    """The same logits for every image: neither a gradient nor a loss that rises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0 * x.mean((1, 2, 3))[:, None] + torch.arange(5.0)


class NotANumber(nn.Module):
    """Its gradient is not finite anywhere: that of sqrt at zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return healthy()(x) + (0 * x).sqrt().sum((1, 2, 3))[:, None]


# Each check on a sound network, and on one that fails it: the finding of both.
FINDINGS: dict[str, tuple[str, nn.Module, str]] = {
    "randomness": (
        "none: the same images twice give the same logits",
        Noisy(healthy()),
        "logits of the same images differ by up to .*: try --eot 20",
    ),
    "batch size": (
        "logits in batches of 1, 8 and 40 agree to 0.0001 of their size",
        BatchMean(healthy()),
        "in batches of 1 the logits differ from those in a batch of 40 by .*, limit 0.0001",
    ),
    "output": (
        "logits from -.* to ",
        Probabilities(healthy()),
        "probabilities: none is negative, each row sums to 1 to 0.0001: give logits",
    ),
    "optimisation": ("does not optimise", Purifying(healthy()), "differentiates"),
    "gradients": (
        "zero on 0 % of the images, limit 10 %",
        Constant(),
        "zero on 100 % of the images, limit 10 %",
    ),
    "loss": (
        "before, .* after PGD-100, higher on 100 % of the images$",
        Constant(),
        "higher on 0 % of the images: it must rise, and on more than half",
    ),
}


@pytest.mark.parametrize("check", FINDINGS)
def test_each_finding_states_what_was_compared_with_which_tolerance(check: str) -> None:
    sound, ill, wrong = FINDINGS[check]
    verdict, finding = CHECKS[check](patient(healthy()))
    assert verdict == "pass"
    assert re.search(sound, finding), finding
    verdict, finding = CHECKS[check](patient(ill))
    assert verdict == "fail"
    assert re.search(wrong, finding), finding


def test_a_gradient_that_is_not_finite_fails() -> None:
    assert CHECKS["gradients"](patient(NotANumber())) == (
        "fail",
        "the loss's gradient is not finite on clean images",
    )
