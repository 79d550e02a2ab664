"""What attacks record of their network, and the sanity gate's verdict on sound and absurd ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import frozen
from scripted import pgd_spec
from torch import nn

from fdbench.attacks import ATTACKS
from fdbench.attacks.losses import dlr
from fdbench.console import Advance
from fdbench.data import Dataset, open_data
from fdbench.evaluation import evaluate, loop
from fdbench.evaluation.evaluation import Evaluation
from fdbench.evaluation.observation import Reference, Watched
from fdbench.models import Model, weights_hash
from fdbench.reporting import implausible
from fdbench.specs import AttackSpec
from fdbench.store import Run, Workspace, read_run
from fdbench.types import Batch, Images, Logits

CPU = torch.device("cpu")
DATA = open_data("fashion-mini")


class NearestMean(nn.Module):
    """Classifies by the nearest class mean: a sound network that needs no training.

    -|x - m|^2 / 40 of each class, up to a term that all classes share: cross-entropy needs margins
    that do not saturate it.
    """

    def __init__(self, change: "Change | None" = None) -> None:
        super().__init__()
        train = open_data("fashion-mini", "train").fetch(range(400))
        means = [train.x[train.label == c].mean(0).flatten() for c in range(10)]
        self.means = nn.Parameter(torch.stack(means))
        self.change = change

    def logits(self, x: Images) -> Logits:
        return (x.flatten(1) @ self.means.T - self.means.square().sum(1) / 2) / 20

    def forward(self, x: Images) -> Logits:
        return self.logits(x) if self.change is None else self.change(self, x)


Change = Callable[[NearestMean, Images], Logits]


def attacked(results: Path, net: nn.Module, data: Dataset = DATA, **changes: Any) -> Run:
    model = Model("net", "mine:net", frozen(net), weights_hash(net.state_dict()), None)
    spec = pgd_spec(iters=(5,))
    job = Evaluation(model, data, ATTACKS["pgd"], spec, Workspace(results), CPU, limit=60)
    return read_run(evaluate(replace(job, **changes), lambda text: None))


def test_a_sound_network_gets_no_warning_and_its_facts_are_counted(tmp_path: Path) -> None:
    run = attacked(tmp_path, NearestMean(), batch_size=25)
    assert run.info.found["sanity"] == []
    assert run.info.found["network"] == {"outputs": 10, "random": False}
    observed = run.info.found["observed"]
    assert observed.pop("rise") > 0
    assert 20 < observed.pop("differentiated") < 60  # right at the random start
    standing = sum(row["clean"] == row["pred"]["5"] == row["label"] for row in run.rows)
    # Five steps of eps/4 from a random start: the loss of each image still rises in the last one.
    assert [observed.pop(name) for name in ("standing", "incomplete")] == [standing, standing]
    counts = {"images": 60, "passes": 60 * 5 * 2, "moved": 60, "raised": 60, "disputed": 0}
    assert observed == {**counts, "zero_gradient": 0, "in_unit_interval": 0}


@pytest.mark.parametrize("attacks", [("apgd-ce",), ("square",)])
def test_other_attacks_are_silent_on_a_sound_network_too(
    tmp_path: Path, attacks: tuple[str, ...]
) -> None:
    threat = {"attack": "autoattack", "eps": 8 / 255, "targeted": False}
    spec = AttackSpec.of({**threat, "version": "custom", "attacks": attacks}, "a test")
    run = attacked(tmp_path, NearestMean(), limit=16, spec=spec, attack=ATTACKS["autoattack"])
    assert implausible(run) == []
    assert (run.info.found["observed"]["differentiated"] > 0) == (attacks == ("apgd-ce",))


ABSURD: dict[str, tuple[Change, str]] = {
    "logits times 10000": (lambda net, x: 1e5 * net.logits(x), "gradient of exactly zero"),
    "rounded input": (lambda net, x: net.logits((8 * x).round() / 8), "gradient of exactly zero"),
    "probabilities": (lambda net, x: net.logits(x).softmax(1), "look like probabilities"),
    "random numbers": (
        lambda net, x: net.logits(x + 0.05 * torch.randn_like(x)),
        "draws random numbers",
    ),
    "other outputs": (
        lambda net, x: nn.functional.pad(net.logits(x), (0, 5), value=-99.0),
        "15 outputs, fashion-mini has 10 classes",
    ),
    "at chance": (lambda net, x: net.logits(1 - x.flip(2)).roll(3, 1), "can't be told from guess"),
    "next label": (lambda net, x: net.logits(x).roll(1, 1), "the label +1 for classes"),
    "an optimising forward pass": (
        lambda net, x: net.logits(_purified(net, x)),
        "differentiates or optimises in its forward pass",
    ),
    "backward gradient": (
        lambda net, x: _Backward.apply(net.logits(x)),
        "raised the loss on only",
    ),
}


@pytest.mark.parametrize("what", ABSURD)
def test_an_absurd_network_gets_a_warning_on_the_terminal_and_in_its_run(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, text = ABSURD[what]
    run = attacked(tmp_path, NearestMean(change), precision="reference")
    assert any(text in line for line in implausible(run)), run.info.found
    assert run.info.found["sanity"] == implausible(run)
    assert f"warning: {run.info.found['sanity'][0]}" in capsys.readouterr().err


def _purified(net: NearestMean, x: Images) -> Images:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (grad,) = torch.autograd.grad(net.logits(leaf).logsumexp(1).sum(), leaf)
    return x + 0.001 * grad


class _Backward(torch.autograd.Function):
    """The identity with the gradient of its negative."""

    @staticmethod
    def forward(ctx: Any, logits: Logits) -> Logits:
        return logits.clone()

    @staticmethod
    def backward(ctx: Any, grad: Logits) -> Logits:
        return -grad


def test_labels_shifted_for_the_classes_after_a_missing_one(tmp_path: Path) -> None:
    labels = DATA.labels.clone()
    labels[labels > 4] -= 1  # class 4 has no folder, and 5 to 9 took its place
    run = attacked(tmp_path, NearestMean(), replace(DATA, labels=labels))
    assert any("the label +1 for classes 4, 6, 7" in line for line in implausible(run))


def test_findings_of_the_first_batch_are_shown_before_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attacked(tmp_path, NearestMean(lambda net, x: net.logits(x).softmax(1)), batch_size=20)
    assert capsys.readouterr().err.count("look like probabilities") == 2


def test_the_progress_shows_robust_accuracy_and_autoattacks_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, object] = {}

    @contextmanager
    def recorded(*settings: object) -> Iterator[Advance]:
        yield lambda n, **fields: shown.update(fields)

    monkeypatch.setattr(loop, "progress", recorded)
    threat = {"attack": "autoattack", "eps": 8 / 255, "targeted": False}
    attacks = ("apgd-ce", "apgd-dlr")
    spec = AttackSpec.of({**threat, "version": "custom", "attacks": attacks}, "a test")
    attack = ATTACKS["autoattack"]
    run = attacked(tmp_path, NearestMean(), limit=16, spec=spec, attack=attack, batch_size=8)
    right = sum(row["pred"]["autoattack"] == row["label"] for row in run.rows)
    accuracy = f"{100 * right / 16:.1f} % of 16"
    assert shown == {"stage": "apgd-dlr (2 of 2)", "robust accuracy": accuracy}


def test_facts_are_added_up_over_sessions(tmp_path: Path) -> None:
    attacked(tmp_path / "parts", NearestMean(), limit=20)
    parts = attacked(tmp_path / "parts", NearestMean(), limit=60).info.found["observed"]
    whole = attacked(tmp_path / "whole", NearestMean(), limit=60).info.found["observed"]
    assert parts.pop("rise") == pytest.approx(whole.pop("rise"), rel=1e-5)
    assert parts == whole


def test_only_a_batchs_first_gradient_is_looked_at() -> None:
    watched = Watched(nn.Flatten())
    for size in (3, 5):
        leaf = torch.zeros(size, 3, 2, 2, requires_grad=True)
        watched(leaf)  # a forward pass alone
        torch.autograd.grad((watched(leaf) * torch.arange(size)[:, None]).sum(), leaf)
    assert watched.facts() == {"passes": 32, "differentiated": 3, "zero_gradient": 1}
    watched.begin(torch.zeros(2, dtype=torch.int64))
    assert watched.facts() == {"passes": 0, "differentiated": 0, "zero_gradient": 0}


def test_a_label_that_ranks_third_has_no_dlr_gradient_and_is_not_counted() -> None:
    """The loss is then -(z_3 - z_1) / (z_1 - z_3) = 1, wherever the image is."""
    watched = Watched(nn.Flatten())
    label = torch.tensor([0, 0])
    watched.begin(label)
    leaf = torch.zeros(2, 3, 2, 2)
    leaf[:, 0] = torch.tensor([[3.0, 2.0, 1.0, 0.0], [1.0, 3.0, 2.0, 0.0]]).view(2, 2, 2)
    leaf.requires_grad_()
    (grad,) = torch.autograd.grad(dlr(watched(leaf)[:, :4], label, None).sum(), leaf)
    assert (grad.flatten(1) == 0).all(1).tolist() == [False, True]
    assert watched.facts() == {"passes": 4, "differentiated": 1, "zero_gradient": 0}


def test_logits_are_compared_on_the_same_images_only() -> None:
    logits = torch.tensor([[1.0, -4.0], [2.0, 0.0]])
    reference = Reference((1, 2), logits)

    def differs(ids: tuple[int, ...], now: Logits) -> bool | None:
        return reference.differs(Batch(torch.zeros(len(ids), 3, 2, 2), torch.tensor(ids), ids), now)

    assert differs((1,), logits[:1]) is False
    assert differs((1, 2), logits + 0.0015) is False
    assert differs((1, 2), logits + 0.005) is True
    assert differs((2, 1), logits) is None
