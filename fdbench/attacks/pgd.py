"""Projected gradient descent: one trajectory, read at every budget.

Source: Madry et al. 2018, Sec. 2.1; protocol of Xie et al. 2019, Sec. 6.1 and released code: random
start inside the ball, constant step, the last iterate counts. All budgets that share a step size
are readings of one trajectory, so PGD-10, 20, 50 and 100 cost one PGD-100.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from fdbench import randomness
from fdbench.attacks import Judge, Reading, Subject
from fdbench.attacks.losses import Loss, loss_named
from fdbench.specs import AttackSpec
from fdbench.threat import Threat
from fdbench.types import Images, Labels, Logits


@dataclass(frozen=True)
class Trajectory:
    """The iterates asked for, by budget, and the first iterate that a judge found wrong (or 0)."""

    iterates: dict[int, Images]
    first_wrong: Labels


def random_start(
    batch_ids: Sequence[int | str], x: Images, threat: Threat, key: str, seed: int
) -> Images:
    """A start inside the ball for each image, from its own stream of numbers (contract C3)."""
    unit = randomness.uniform(seed, key, batch_ids, (prod(x.shape[1:]) + 1,))
    return threat.start(x, torch.from_numpy(unit).to(x.device))


def gradient(
    net: nn.Module, adv: Images, label: Labels, target: Labels | None, loss: Loss
) -> tuple[Images, Logits]:
    """The gradient of the loss with respect to the images, and the logits it came from.

    Summed over the batch, so that no image's gradient depends on how many others there are.
    """
    with torch.enable_grad():
        leaf = adv.detach().requires_grad_()
        logits = net(leaf)
        (grad,) = torch.autograd.grad(loss(logits, label, target).sum(), leaf)
    return grad, logits.detach()


def pgd(
    net: nn.Module,
    x: Images,
    label: Labels,
    threat: Threat,
    *,
    budgets: Sequence[int],
    alpha: float,
    start: Images,
    target: Labels | None = None,
    loss: Loss,
    judge: Judge | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Trajectory:
    """Signed (linf) or normalised (l2) gradient steps, projected after each.

    With a `judge`, iterates that `net` gets wrong are shown to it until it agrees; their numbers
    are `first_wrong`. The start itself never counts: it may lie outside [0, 1]. `tick` is called
    after each step.
    """
    adv, iterates = start, {}
    first_wrong = torch.zeros_like(label)
    for step in range(1, max(budgets) + 1):
        grad, logits = gradient(net, adv, label, target, loss)
        if judge is not None and step > 1:
            _note_wrong(first_wrong, step - 1, adv, logits, label, judge)
        adv = threat.project(threat.move(adv, grad, alpha), x)
        if step in budgets:
            iterates[step] = adv
        tick()
    return Trajectory(iterates, first_wrong)


def _note_wrong(
    first_wrong: Labels, step: int, adv: Images, logits: Logits, label: Labels, judge: Judge
) -> None:
    suspects = ((logits.argmax(1) != label) & (first_wrong == 0)).nonzero()[:, 0]
    if len(suspects):
        confirmed = suspects[judge(adv[suspects], suspects) != label[suspects]]
        first_wrong[confirmed] = step


def _by_step_size(spec: AttackSpec) -> dict[float, list[int]]:
    """Budgets that share a step size share a trajectory; the paper's PGD-10 has its own."""
    groups: dict[float, list[int]] = {}
    for budget in sorted(spec.iters):
        groups.setdefault(spec.step(budget), []).append(budget)
    return groups


def count_steps(spec: AttackSpec) -> int:
    """How often `run_pgd` ticks for a batch: its forward and backward passes."""
    return spec.restarts * sum(max(budgets) for budgets in _by_step_size(spec).values())


def run_pgd(subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
    """A reading for each budget and restart, named by the budget."""
    x, label = subject.batch.x, subject.batch.label
    for restart in range(spec.restarts):
        start = x
        if spec.random_start:
            key = f"start-{restart}"
            start = random_start(subject.batch.ids, x, subject.threat, key, subject.seed)
        for alpha, budgets in _by_step_size(spec).items():
            path = pgd(
                subject.net,
                x,
                label,
                subject.threat,
                budgets=budgets,
                alpha=alpha,
                start=start,
                target=subject.target,
                loss=loss_named(spec.loss),
                judge=subject.judge,
                tick=subject.tick,
            )
            for budget, adv in path.iterates.items():
                yield Reading(str(budget), adv, _up_to(path.first_wrong, budget))


def _up_to(first_wrong: Tensor, budget: int) -> Tensor:
    return torch.where(first_wrong <= budget, first_wrong, 0)
