from dataclasses import replace

import pytest
import torch
from conftest import Linear, frozen
from torch import nn

from fdbench.attacks import Reading, Subject
from fdbench.attacks.losses import LOSSES
from fdbench.attacks.pgd import count_steps, pgd, random_start, run_pgd
from fdbench.attacks.targets import draw_targets
from fdbench.judge import Referee, predict
from fdbench.specs import AttackSpec
from fdbench.threat import Threat
from fdbench.types import Batch
from fdbench.verify import check

LINF, L2 = Threat("linf", 8 / 255), Threat("l2", 0.5)


def subject(net: nn.Module, batch: Batch, threat: Threat, targeted: bool = False) -> Subject:
    target = draw_targets(batch, 5, seed=0) if targeted else None
    judge = Referee(net, batch, threat)
    return Subject(net, batch, target, threat, 0, judge, lambda: None)


def readings(net: nn.Module, batch: Batch, spec: AttackSpec) -> dict[str, Reading]:
    found = run_pgd(subject(net, batch, Threat(spec.norm, spec.eps), spec.targeted), spec)
    return {reading.name: reading for reading in found}


@pytest.mark.parametrize("threat", [LINF, L2], ids=["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_every_iterate_is_legal(
    tiny_net: nn.Module, batch: Batch, threat: Threat, targeted: bool
) -> None:
    target = draw_targets(batch, 5, seed=0) if targeted else None
    start = random_start(batch.ids, batch.x, threat, "s", 0)
    path = pgd(
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
    spec = AttackSpec(norm=norm, eps=eps, iters=(20,))
    adv = readings(net, Batch(x, label, ids), spec)["20"].adv
    clear = (margin - eps * dual).abs() > 1e-4  # closer than that, float32 decides
    assert torch.equal((predict(net, adv) == label)[clear], exact[clear])
    assert clear.float().mean() > 0.99


def test_budgets_of_one_trajectory_are_what_separate_runs_find(
    tiny_net: nn.Module, batch: Batch
) -> None:
    together = readings(tiny_net, batch, AttackSpec(iters=(1, 3, 8)))
    for budget in (1, 3, 8):
        alone = readings(tiny_net, batch, AttackSpec(iters=(budget,)))
        assert torch.equal(together[str(budget)].adv, alone[str(budget)].adv)


def test_the_papers_ten_iterations_have_a_trajectory_of_their_own() -> None:
    paper = AttackSpec(eps=16 / 255, targeted=True, iters=(10, 100, 1000))
    assert paper.step(10) == pytest.approx(1.6 / 255)
    assert paper.step(100) == paper.step(1000) == pytest.approx(1 / 255)
    assert count_steps(paper) == 10 + 1000
    assert count_steps(replace(paper, targeted=False)) == 1000


def test_the_batch_size_changes_no_start_no_target_and_no_image(
    tiny_net: nn.Module, batch: Batch
) -> None:
    spec = AttackSpec(iters=(5,), targeted=True)
    whole = readings(tiny_net, batch, spec)["5"].adv
    target = draw_targets(batch, 5, seed=0)
    parts = []
    for i in range(0, 12, 5):
        part = Batch(batch.x[i : i + 5], batch.label[i : i + 5], batch.ids[i : i + 5])
        assert torch.equal(draw_targets(part, 5, seed=0), target[i : i + 5])
        parts.append(readings(tiny_net, part, spec)["5"].adv)
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)


def test_targets_are_wrong_and_every_wrong_class_occurs() -> None:
    label = torch.arange(3).repeat(100)
    many = Batch(torch.zeros((300, 3, 2, 2)), label, tuple(range(300)))
    target = draw_targets(many, 3, seed=0)
    assert (target != label).all()
    assert {(int(a), int(b)) for a, b in zip(label, target, strict=True)} == {
        (a, b) for a in range(3) for b in range(3) if a != b
    }


def test_a_targeted_attack_raises_the_target_and_an_untargeted_one_the_loss(
    tiny_net: nn.Module, batch: Batch
) -> None:
    target = draw_targets(batch, 5, seed=0)
    spec = AttackSpec(eps=0.1, iters=(20,))
    away = readings(tiny_net, batch, spec)["20"].adv
    towards = readings(tiny_net, batch, replace(spec, targeted=True))["20"].adv
    for adv, label, sign in ((away, batch.label, 1), (towards, target, -1)):
        before = nn.functional.cross_entropy(tiny_net(batch.x), label)
        assert sign * (nn.functional.cross_entropy(tiny_net(adv), label) - before) > 0


def test_first_wrong_is_the_first_iterate_that_separate_runs_find_wrong(batch: Batch) -> None:
    net = frozen(Linear(5, 8, seed=2))
    batch = Batch(batch.x, predict(net, batch.x), batch.ids)
    spec = AttackSpec(eps=16 / 255, alpha=1 / 255, iters=(12,))
    first = readings(net, batch, spec)["12"].first_wrong
    assert first is not None
    assert int((first > 0).sum()) > 0
    steps = readings(net, batch, replace(spec, iters=tuple(range(1, 12))))
    for image in range(12):
        wrong = [
            int(name)
            for name, reading in steps.items()
            if predict(net, reading.adv)[image] != batch.label[image]
        ]
        assert int(first[image]) == (min(wrong) if wrong else 0)


def test_a_judge_that_disagrees_keeps_an_iterate_from_counting(
    tiny_net: nn.Module, batch: Batch
) -> None:
    stubborn = replace(subject(tiny_net, batch, LINF), judge=lambda adv, i: batch.label[i])
    (reading,) = run_pgd(stubborn, AttackSpec(iters=(6,)))
    assert reading.first_wrong is not None
    assert int(reading.first_wrong.sum()) == 0


def test_restarts_start_elsewhere_and_the_first_is_the_run_without_restarts(
    tiny_net: nn.Module, batch: Batch
) -> None:
    spec = AttackSpec(iters=(3,), restarts=2)
    first, second = run_pgd(subject(tiny_net, batch, LINF), spec)
    assert torch.equal(first.adv, readings(tiny_net, batch, replace(spec, restarts=1))["3"].adv)
    assert not torch.equal(first.adv, second.adv)


def test_the_attack_leaves_network_images_and_generators_alone(
    tiny_net: nn.Module, batch: Batch
) -> None:
    x, state = batch.x.clone(), torch.get_rng_state()
    readings(tiny_net, batch, AttackSpec(iters=(3,)))
    assert torch.equal(batch.x, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in tiny_net.parameters())
