from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from conftest import Linear, Small, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import pgd_spec
from torch import Tensor, nn

from fdbench.attacks.catalogue import LOSSES
from fdbench.attacks.pgd import PGD, gradient, random_start, trajectory
from fdbench.attacks.protocol import Reading, Subject
from fdbench.attacks.targets import draw_targets
from fdbench.evaluation.readings import rows_of, worst_of
from fdbench.models.fast import accelerate
from fdbench.specs import AttackSpec, PGDParameters
from fdbench.store import Row
from fdbench.threat import Threat
from fdbench.types import Batch
from fdbench.verdict import Referee, check, predict

LINF, L2 = Threat("linf", 8 / 255), Threat("l2", 0.5)


class NoScratch:
    """PGD saves no unfinished batch: it calls neither method."""

    def load(self) -> dict[str, Tensor] | None:
        raise AssertionError

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        raise AssertionError


class Ticks:
    """Collects the shares of a step that an attack ticks."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def __call__(self, share: float = 1.0, stage: str = "") -> None:
        self.shares.append(share)


def subject(net: nn.Module, batch: Batch, threat: Threat, targeted: bool = False) -> Subject:
    target = draw_targets(batch, 5, seed=0) if targeted else None
    judge = Referee(net, batch, threat)
    return Subject(net, batch, target, threat, 0, judge, Ticks(), 5, NoScratch(), 250)


def readings(net: nn.Module, batch: Batch, spec: AttackSpec) -> dict[str, Reading]:
    attacked = subject(net, batch, Threat(spec.norm, spec.eps), spec.targeted)
    return {reading.name: reading for reading in PGD().run(attacked, spec)}


def outcome(attacked: Subject, spec: AttackSpec) -> tuple[list[Row], dict[str, Tensor]]:
    """The rows that the loop would write, and the images it would keep."""
    batch, target = attacked.batch, attacked.target
    assert isinstance(attacked.judge, Referee)
    worst = worst_of(PGD().run(attacked, spec), attacked.judge, batch.label, target)
    clean = predict(attacked.judge.net, batch.x)
    rows = rows_of(batch, target, clean, worst, attacked.threat)
    return rows, {name: reading.adv for name, reading in worst.items()}


@pytest.fixture(scope="module")
def slow_to_break() -> tuple[nn.Module, Batch]:
    """A network with batch norm and 24 images it gets right, which break early, late or never."""
    net = frozen(Small(seed=3))
    x = torch.rand((200, 3, 8, 8), generator=torch.Generator().manual_seed(5))
    logits = net(x)
    top = logits.topk(2).values
    some = (top[:, 0] - top[:, 1]).argsort()[::8][:24]
    return net, Batch(x[some], logits[some].argmax(1), tuple(range(24)))


@pytest.mark.parametrize("threat", [LINF, L2], ids=["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_every_iterate_is_legal(
    tiny_net: nn.Module, batch: Batch, threat: Threat, targeted: bool
) -> None:
    target = draw_targets(batch, 5, seed=0) if targeted else None
    start = random_start(batch.ids, batch.x, threat, "s", 0)
    path = trajectory(
        tiny_net, batch.x, batch.label, threat,
        budgets=range(1, 13), alpha=threat.eps / 3, start=start, target=target, loss=LOSSES["ce"],
    )  # fmt: skip
    assert len(path.iterates) == 12
    for adv in path.iterates.values():
        check(adv, batch.x, threat)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_two_class_linear_models_robust_accuracy_is_the_closed_form(norm: str) -> None:
    """Exact: right iff margin > eps |w1 - w0| in the dual norm, where the box does not bind."""
    net = frozen(Linear(2, 6, seed=0))
    x = 0.3 + 0.4 * torch.rand((1000, 3, 6, 6), generator=torch.Generator().manual_seed(0))
    label = predict(net, x)
    eps = 0.008 if norm == "linf" else 0.08  # from 0.3 .. 0.7, neither reaches the box
    difference = net.get_submodule("fc").weight.diff(dim=0)[0]  # type: ignore[operator]
    dual = difference.norm(p=1 if norm == "linf" else 2)
    logits = net(x)
    margin = (logits[:, 1] - logits[:, 0]).abs()
    exact = margin > eps * dual
    assert 0.2 < float(exact.float().mean()) < 0.8
    ids = tuple(range(1000))
    spec = pgd_spec(norm=norm, eps=eps, iters=(20,))
    adv = readings(net, Batch(x, label, ids), spec)["20"].adv
    clear = (margin - eps * dual).abs() > 1e-4  # closer than that, float32 decides
    assert torch.equal((predict(net, adv) == label)[clear], exact[clear])
    assert clear.float().mean() > 0.99


def test_budgets_of_one_trajectory_match_separate_runs(tiny_net: nn.Module, batch: Batch) -> None:
    together = readings(tiny_net, batch, pgd_spec(iters=(1, 3, 8)))
    for budget in (1, 3, 8):
        alone = readings(tiny_net, batch, pgd_spec(iters=(budget,)))
        assert torch.equal(together[str(budget)].adv, alone[str(budget)].adv)


def test_the_papers_ten_iterations_have_their_own_trajectory() -> None:
    paper = pgd_spec(eps=16 / 255, targeted=True, iters=(10, 100, 1000))
    parameters = paper.parameters
    assert isinstance(parameters, PGDParameters)
    assert parameters.step(paper, 10) == pytest.approx(1.6 / 255)
    assert parameters.step(paper, 100) == parameters.step(paper, 1000) == pytest.approx(1 / 255)
    assert PGD().cost(paper) == 10 + 1000
    assert PGD().cost(replace(paper, targeted=False)) == 1000


def test_the_batch_size_changes_no_start_no_target_and_no_image(
    tiny_net: nn.Module, batch: Batch
) -> None:
    spec = pgd_spec(iters=(5,), targeted=True)
    whole = readings(tiny_net, batch, spec)["5"].adv
    target = draw_targets(batch, 5, seed=0)
    parts = []
    for i in range(0, 12, 5):
        part = Batch(batch.x[i : i + 5], batch.label[i : i + 5], batch.ids[i : i + 5])
        assert torch.equal(draw_targets(part, 5, seed=0), target[i : i + 5])
        parts.append(readings(tiny_net, part, spec)["5"].adv)
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)


def test_a_targeted_attack_raises_the_target_and_an_untargeted_one_the_loss(
    tiny_net: nn.Module, batch: Batch
) -> None:
    target = draw_targets(batch, 5, seed=0)
    spec = pgd_spec(eps=0.1, iters=(20,))
    away = readings(tiny_net, batch, spec)["20"].adv
    towards = readings(tiny_net, batch, replace(spec, targeted=True))["20"].adv
    for adv, label, sign in ((away, batch.label, 1), (towards, target, -1)):
        before = nn.functional.cross_entropy(tiny_net(batch.x), label)
        assert sign * (nn.functional.cross_entropy(tiny_net(adv), label) - before) > 0


def test_first_wrong_is_the_first_iterate_that_is_wrong_in_separate_runs(batch: Batch) -> None:
    net = frozen(Linear(5, 8, seed=2))
    batch = Batch(batch.x, predict(net, batch.x), batch.ids)
    spec = pgd_spec(eps=16 / 255, alpha=1 / 255, iters=(12,))
    first = readings(net, batch, spec)["12"].first_wrong
    assert first is not None
    assert int((first > 0).sum()) > 0
    steps = readings(net, batch, spec.with_parameters(iters=tuple(range(1, 12))))
    for image in range(12):
        wrong = [
            int(name)
            for name, reading in steps.items()
            if predict(net, reading.adv)[image] != batch.label[image]
        ]
        assert int(first[image]) == (min(wrong) if wrong else 0)


def test_an_iterate_counts_only_if_the_judge_agrees(tiny_net: nn.Module, batch: Batch) -> None:
    stubborn = replace(subject(tiny_net, batch, LINF), judge=lambda adv, i: batch.label[i])
    (reading,) = PGD().run(stubborn, pgd_spec(iters=(6,)))
    assert reading.first_wrong is not None
    assert int(reading.first_wrong.sum()) == 0


def test_restarts_start_elsewhere_and_the_first_is_the_run_without_restarts(
    tiny_net: nn.Module, batch: Batch
) -> None:
    spec = pgd_spec(iters=(3,), restarts=2)
    first, second = PGD().run(subject(tiny_net, batch, LINF), spec)
    assert torch.equal(
        first.adv, readings(tiny_net, batch, spec.with_parameters(restarts=1))["3"].adv
    )
    assert not torch.equal(first.adv, second.adv)


def test_network_images_and_generators_are_unchanged(tiny_net: nn.Module, batch: Batch) -> None:
    x, state = batch.x.clone(), torch.get_rng_state()
    readings(tiny_net, batch, pgd_spec(iters=(3,)))
    assert torch.equal(batch.x, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in tiny_net.parameters())


BUDGETS = (2, 5, 10, 20, 30, 40, 50)  # a fortieth of the usual budgets
SLOW = pgd_spec(eps=0.1, alpha=0.005, iters=BUDGETS)
WIDE = Threat("linf", 0.1)


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "folded"])
def test_seven_budgets_of_one_trajectory_are_seven_runs_bit_for_bit(
    slow_to_break: tuple[nn.Module, Batch], fast: bool
) -> None:
    net, batch = slow_to_break
    attacked = subject(net, batch, WIDE)
    if fast:
        attacked = replace(attacked, net=accelerate(net, batch.x)[0])
    rows, images = outcome(attacked, SLOW)
    assert len({row["first_wrong"] for row in rows}) > 10, "the images break too much alike to tell"
    for budget in map(str, BUDGETS):
        alone, image = outcome(attacked, SLOW.with_parameters(iters=(int(budget),)))
        assert torch.equal(image[budget], images[budget])
        for row, single in zip(rows, alone, strict=True):
            assert row["pred"][budget] == single["pred"][budget]
            assert row["first_wrong_by"][budget] == single["first_wrong"]


@pytest.mark.parametrize("restarts", [1, 3])
def test_stopping_early_changes_no_number_of_any_iterate(
    slow_to_break: tuple[nn.Module, Batch], restarts: int
) -> None:
    net, batch = slow_to_break
    spec = SLOW.with_parameters(restarts=restarts)
    on, _ = outcome(subject(net, batch, WIDE), spec)
    early, _ = outcome(subject(net, batch, WIDE), spec.with_parameters(stop_early=True))
    if restarts > 1:
        once, _ = outcome(subject(net, batch, WIDE), spec.with_parameters(restarts=1))
        assert [r["first_wrong"] for r in once] != [r["first_wrong"] for r in on]
    for row, other in zip(on, early, strict=True):
        assert other["first_wrong_by"] == row["first_wrong_by"]
        for budget, first in row["first_wrong_by"].items():
            assert (other["pred"][budget] != other["label"]) == (first is not None)


def test_a_stopped_image_stays_at_the_iterate_that_broke_it(
    slow_to_break: tuple[nn.Module, Batch],
) -> None:
    net, batch = slow_to_break
    every = {
        int(name): reading.adv
        for name, reading in readings(
            net, batch, SLOW.with_parameters(iters=tuple(range(1, 51)))
        ).items()
    }
    early = readings(net, batch, SLOW.with_parameters(stop_early=True))
    first = early["50"].first_wrong
    assert first is not None
    assert 0 < int((first > 0).sum()) < 24
    for budget in BUDGETS:
        for image, broken in enumerate(first.tolist()):
            at = broken if 0 < broken <= budget else budget
            assert torch.equal(early[str(budget)].adv[image], every[at][image])


class Counted(nn.Module):
    """Counts the images of passes that need gradients."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.images = net, 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x) if x.requires_grad else 0
        return self.net(x)


@pytest.mark.parametrize("eot", [1, 3])
@pytest.mark.parametrize("stop_early", [False, True])
def test_each_pass_ticks_its_share_of_the_batch(
    slow_to_break: tuple[nn.Module, Batch], stop_early: bool, eot: int
) -> None:
    net, batch = slow_to_break
    counted, ticks = Counted(net), Ticks()
    spec = SLOW.with_parameters(iters=(5, 20), restarts=2, eot=eot, stop_early=stop_early)
    for _ in PGD().run(replace(subject(net, batch, WIDE), net=counted, tick=ticks), spec):
        pass
    assert sum(ticks.shares) == pytest.approx(counted.images / 24)
    if stop_early:
        assert sum(ticks.shares) < 0.8 * PGD().cost(spec)
    else:
        assert sum(ticks.shares) == PGD().cost(spec) == 2 * 20 * eot


def test_a_fully_broken_batch_is_not_attacked_further(tiny_net: nn.Module, batch: Batch) -> None:
    wrong = Batch(batch.x, (predict(tiny_net, batch.x) + 1) % 5, batch.ids)
    spec = pgd_spec(eps=1e-4, iters=(1, 5), stop_early=True, restarts=2)
    attacked = subject(tiny_net, wrong, Threat("linf", 1e-4))
    results = list(PGD().run(attacked, spec))
    assert isinstance(attacked.tick, Ticks)
    assert attacked.tick.shares == [1.0, 1.0, 1.0]  # iterate 1 is seen by the second pass
    for reading in results:
        check(reading.adv, wrong.x, attacked.threat)
        assert torch.equal(reading.adv, results[0].adv)
        assert reading.first_wrong is not None
        assert reading.first_wrong.tolist() == [1] * 12


def test_stopping_early_needs_a_judge(tiny_net: nn.Module, batch: Batch) -> None:
    with pytest.raises(ValueError, match="only a judge"):
        trajectory(
            tiny_net, batch.x, batch.label, LINF,
            budgets=[2], alpha=0.01, start=batch.x, loss=LOSSES["ce"], stop_early=True,
        )  # fmt: skip


class Shifting(nn.Module):
    """Moves its input by another amount at each call: randomness that a test can predict."""

    shifts = (-0.3, 0.1, 0.4)

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.calls = net, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x + self.shifts[(self.calls - 1) % 3])


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_eot_is_the_mean_of_the_passes_gradients_and_logits(
    tiny_net: nn.Module, batch: Batch, loss: str
) -> None:
    def passes(net: nn.Module, eot: int) -> tuple[Tensor, Tensor]:
        return gradient(net, batch.x, batch.label, None, LOSSES[loss], eot)

    grad, logits = passes(Shifting(tiny_net), 3)
    shifting = Shifting(tiny_net)
    single = [passes(shifting, 1) for _ in range(3)]
    assert not torch.allclose(single[0][0], single[1][0])
    assert torch.allclose(grad, torch.stack([g for g, _ in single]).mean(0), atol=1e-6)
    assert torch.allclose(logits, torch.stack([z for _, z in single]).mean(0), atol=1e-6)


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "folded"])
def test_the_steps_are_the_textbooks_bit_for_bit(
    tiny_net: nn.Module, batch: Batch, fast: bool
) -> None:
    """Guards the fast loop: no optimisation may change an iterate."""
    net = accelerate(tiny_net, batch.x)[0] if fast else tiny_net
    x, eps, alpha = batch.x, 8 / 255, 2 / 255
    adv = start = random_start(batch.ids, x, LINF, "s", 0)
    for _ in range(20):
        leaf = adv.clone().requires_grad_()
        value = nn.functional.cross_entropy(net(leaf), batch.label, reduction="sum")
        (grad,) = torch.autograd.grad(value, leaf)
        adv = (x + (adv + alpha * grad.sign() - x).clamp(-eps, eps)).clamp(0, 1)
    path = trajectory(
        net, x, batch.label, LINF, budgets=[20], alpha=alpha, start=start, loss=LOSSES["ce"]
    )
    assert torch.equal(path.iterates[20], adv)


@settings(max_examples=60, deadline=None)
@given(
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(1e-6, 2.0),
    far=st.floats(1e-3, 1e3),
    seed=st.integers(0, 99),
)
def test_float32_keeps_ball_and_box_at_any_eps_and_step(
    norm: str, eps: float, far: float, seed: int
) -> None:
    rng, threat = torch.Generator().manual_seed(seed), Threat(norm, eps)
    x = torch.rand((4, 3, 4, 4), generator=rng)
    x = torch.where(torch.rand(x.shape, generator=rng) < 0.2, x.round(), x)  # black and white
    label = torch.randint(0, 5, (4,), generator=rng)
    path = trajectory(
        frozen(Linear(5, 4, seed=seed)), x, label, threat,
        budgets=[1, 2, 3], alpha=far * eps, loss=LOSSES["ce"],
        start=random_start(range(4), x, threat, "s", seed),
    )  # fmt: skip
    for adv in path.iterates.values():
        check(adv, x, threat)
