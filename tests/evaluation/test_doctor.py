"""Networks that are ill in a known way: each fails the right check."""

import re

import pytest
import torch
from conftest import Linear, frozen
from torch import nn

from fdbench.evaluation import comparing, masking
from fdbench.evaluation.doctor import CHECKS, examine
from fdbench.evaluation.patient import Patient
from fdbench.store import Check
from fdbench.threat import Threat
from fdbench.types import Batch


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"QUERIES": 200, "DRAWS": 20, "BLURS": 2, "BLURRED_STEPS": 5}
    for name, value in few.items():
        monkeypatch.setattr(masking, name, value)


def patient(net: nn.Module, **changes: object) -> Patient:
    """A network and 40 images labelled by a healthy network."""
    x = torch.rand((40, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        label = healthy()(x).argmax(1)
    batch = Batch(x, label, tuple(range(40)))
    return Patient(frozen(net), batch, Threat("linf", 0.1), 5, **changes)  # type: ignore[arg-type]


def healthy() -> nn.Module:
    return Linear(5, 8, seed=0)


def fails(ill: Patient, *checks: str) -> bool:
    """Whether all of these checks fail; no other check is made."""
    done = [Check(name, "pass", "not asked for") for name in CHECKS if name not in checks]
    return all(one.verdict == "fail" for one in examine(ill, done) if one.check in checks)


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
    assert fails(patient(net), *checks)


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


def places(count: int) -> torch.Tensor:
    return torch.arange(count)


def test_too_few_images_to_tell_are_named() -> None:
    """Of 40 images that all stand, 2 % would have to be 17 % before it shows."""
    verdict, text = comparing.beyond(patient(healthy()), places(40), 2, "Square", 0.25, "do")
    assert verdict == "skipped"
    assert "breaks 2 of the 40 images that PGD-100 leaves: too few to tell (p 1, limit" in text
    assert text.endswith("--limit 200")


def test_images_that_gradients_break_leave_nothing_to_doubt() -> None:
    verdict, text = comparing.beyond(patient(healthy()), places(0), 0, "Square", 0.02, "do")
    assert (verdict, text) == ("pass", "PGD-100 leaves no image: there is no robustness to doubt")


@pytest.mark.parametrize(
    ("net", "check"),
    [(Scaled(healthy()), "other losses"), (Rounded(healthy()), "Square against PGD")],
    ids=["scaled", "rounded"],
)
def test_a_masked_gradient_is_beaten_by_what_is_not_masked(net: nn.Module, check: str) -> None:
    assert fails(patient(net), check)


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
    assert fails(ill, "transfer against PGD")


def test_a_stochastic_network_passes_only_with_eot() -> None:
    assert fails(patient(Noisy(healthy(), 0.01)), "randomness")
    assert not fails(patient(Noisy(healthy(), 0.01), eot=4), "randomness")


def test_a_network_left_in_training_mode_fails() -> None:
    ill = patient(healthy())
    ill.net.train()
    assert fails(ill, "inference mode")


def test_clean_accuracy_must_be_the_expected_one() -> None:
    assert fails(patient(healthy(), expected=(60.0, 5.0)), "clean accuracy")
    assert not fails(patient(healthy(), expected=(99.0, 2.0)), "clean accuracy")


def knowing(**known: object) -> Patient:
    """A patient of whom some verdicts are known already."""
    made = patient(healthy())
    vars(made).update(known)
    return made


AGAINST_PGD = ["noise against PGD", "Square against PGD", "transfer against PGD"]


@pytest.mark.parametrize("check", AGAINST_PGD)
@pytest.mark.parametrize(
    ("standing", "broken", "verdict", "text"),
    [
        (0, 0, "pass", r"^PGD-100 leaves no image"),
        (
            30,
            1,
            "pass",
            r"breaks 1 of the 30 .* \(p 0.45, limit 0.0038; 21 % would fail with a power",
        ),
        (
            30,
            6,
            "fail",
            r"breaks 6 of the 30 .* 2 % at most; p 2.5e-05, limit 0.0038\): the network",
        ),
    ],
)
def test_an_attack_fails_that_breaks_more_than_chance_of_what_gradients_left(
    monkeypatch: pytest.MonkeyPatch,
    check: str,
    standing: int,
    broken: int,
    verdict: str,
    text: str,
) -> None:
    made = knowing(standing=places(standing))
    made.surrogates = (frozen(healthy()),)
    monkeypatch.setattr(Patient, "stand", lambda self, adv, at: at[broken:])
    wrong = torch.arange(standing) < broken
    answers = torch.where(wrong, (made.batch.label[:standing] + 1) % 5, made.batch.label[:standing])
    monkeypatch.setattr(
        Patient, "logits", lambda self, x: torch.eye(5)[answers] if len(x) == standing else x
    )
    found, finding = CHECKS[check](made)
    assert found == verdict, finding
    assert re.search(text, finding), finding


def test_images_that_are_right_again_after_more_iterations_fail() -> None:
    examined = CHECKS["10 against 100 iterations"]
    verdict, finding = examined(knowing(left_by_few=places(20), left=places(40)))
    assert verdict == "fail"
    assert finding.startswith("PGD-10 leaves 50.0 %, PGD-100 100.0 %; 20 images are right again")
    verdict, finding = examined(knowing(left_by_few=places(40), left=places(0)))
    assert verdict == "pass"
    assert finding.startswith("PGD-10 leaves 100.0 %, PGD-100 0.0 %; 0 images are right again")


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
    made = knowing(right=places(count))
    made.expected = expected
    found, finding = CHECKS["clean accuracy"](made)
    assert found == verdict
    assert re.search(text, finding), finding


def test_chance_on_two_classes_is_not_enough() -> None:
    made = knowing(right=places(22))
    made.classes = 2
    verdict, finding = CHECKS["clean accuracy"](made)
    assert (verdict, finding[:42]) == ("fail", "55.0 %, chance 50 %: below 75 %; if it sho")


@pytest.mark.parametrize(
    ("count", "verdict", "text"),
    [
        (0, "pass", r"leaves 0.0 % \[0.0, 8.8\]: at or below chance, 20 %$"),
        (10, "pass", "25.0 % .*: not at or below chance, 20 %, but the 95 % interval reaches that"),
        (40, "fail", "100.0 % .*: not at or below chance, 20 %: an attack without limits must"),
    ],
)
def test_accuracy_at_a_large_eps_is_compared_with_chance(
    monkeypatch: pytest.MonkeyPatch, count: int, verdict: str, text: str
) -> None:
    monkeypatch.setattr(Patient, "survivors", lambda self, *_, **__: places(count))
    found, finding = CHECKS["large eps"](patient(healthy()))
    assert found == verdict
    assert re.search(text, finding), finding


class Constant(nn.Module):
    """The same logits for every image: no gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0 * x.mean((1, 2, 3))[:, None] + torch.arange(5.0)


class Backward(nn.Module):
    """The gradient points the other way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return healthy()(2 * x.detach() - x)


class Wavy(nn.Module):
    """A fast wave on the image, of some height in 1/255."""

    def __init__(self, height: float = 3) -> None:
        super().__init__()
        self.height = height

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return healthy()(x + self.height / 255 * torch.sin(1e4 * x))


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
        "zero on 100 % of the images, limit 10 %: gradients vanish: try",
    ),
    "gradient against steps": (
        "changes the margin by 1 times what it predicts .* on 0 of 40 images",
        Wavy(),
        "on 38 of 38 images by less than half .* try fdbench attack fast",
    ),
    "loss": (
        "before, .* after PGD-100, and on 0 of 40 images no higher than the best of 10",
        Backward(),
        "on 40 of 40 images no higher than the best of 10 .* leads nowhere",
    ),
    "stability": (
        "the margin changes by 0.* of itself within 4/255, limit 0.4$",
        Wavy(40),
        "predictions are unstable; average gradients",
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
