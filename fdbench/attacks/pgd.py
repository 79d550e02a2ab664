"""Projected gradient descent: one trajectory, read at every budget.

Source: Madry et al. 2018, Sec. 2.1; protocol of Xie et al. 2019, Sec. 6.1 and released code: random
start inside the ball, constant step, the last iterate counts. All budgets that share a step size
are readings of one trajectory, so PGD-10, 20, 50 and 100 cost one PGD-100.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from fdbench import randomness
from fdbench.attacks.losses import Loss, loss_named
from fdbench.attacks.protocol import Judge, Reading, Subject, Tick
from fdbench.specs import AttackSpec
from fdbench.threat import Threat
from fdbench.types import Images, Labels, Logits


@dataclass(frozen=True)
class Trajectory:
    """The iterates asked for, by budget, and the first iterate that a judge found wrong (or 0)."""

    iterates: dict[int, Images]
    first_wrong: Labels


@dataclass
class _Front:
    """The images under attack, as an attack sees them: the whole batch, unless broken ones left.

    `settled` (what those that left ended as) and `first_wrong` are always of the whole batch.
    """

    index: Labels  # places in the batch
    x: Images
    label: Labels
    target: Labels | None
    adv: Images
    settled: Images
    first_wrong: Labels

    @property
    def share(self) -> float:
        return len(self.index) / len(self.first_wrong)

    @property
    def images(self) -> Images:
        """The whole batch as it stands."""
        if self.share == 1:
            return self.adv
        return self.settled.index_copy(0, self.index, self.adv)

    def note_wrong(self, step: int, logits: Logits, judge: Judge) -> None:
        """Shows the judge what is wrong earlier than it was known to be."""
        known = self.first_wrong[self.index]
        news = (known == 0) | (known > step)
        suspects = ((logits.argmax(1) != self.label) & news).nonzero()[:, 0]
        if len(suspects):
            places = self.index[suspects]
            confirmed = judge(self.adv[suspects], places) != self.label[suspects]
            self.first_wrong[places[confirmed]] = step

    def leave(self, step: int) -> Bool[Tensor, " B"]:
        """Lets images go of which iterates from `step` on say nothing new; who stays.

        A later restart still asks whether an image breaks earlier than it did before.
        """
        known = self.first_wrong[self.index]
        stays = (known == 0) | (known > step)
        if stays.all():
            return stays
        broken = ~stays & (known < step)  # here: an earlier restart's are settled already
        self.settled = self.settled.index_copy(0, self.index[broken], self.adv[broken])
        self.index, self.x, self.adv = self.index[stays], self.x[stays], self.adv[stays]
        self.label = self.label[stays]
        self.target = None if self.target is None else self.target[stays]
        return stays


def random_start(
    batch_ids: Sequence[int | str], x: Images, threat: Threat, key: str, seed: int
) -> Images:
    """A start inside the ball for each image, from its own stream of numbers (contract C3)."""
    unit = randomness.uniform(seed, key, batch_ids, (prod(x.shape[1:]) + 1,))
    return threat.start(x, torch.from_numpy(unit).to(x.device))


def gradient(
    net: nn.Module, adv: Images, label: Labels, target: Labels | None, loss: Loss, eot: int = 1
) -> tuple[Images, Logits]:
    """The gradient of the loss with respect to the images, and the logits it came from.

    Summed over the batch, so that no image's gradient depends on how many others there are. Both
    are means over `eot` passes, for networks that draw random numbers: expectation over
    transformation (Athalye et al. 2018, "Synthesizing robust adversarial examples").
    """

    def one_pass() -> tuple[Images, Logits]:
        with torch.enable_grad():
            leaf = adv.detach().requires_grad_()
            logits = net(leaf)
            (grad,) = torch.autograd.grad(loss(logits, label, target).sum() / eot, leaf)
        return grad, logits.detach() / eot

    grad, logits = one_pass()
    for _ in range(eot - 1):
        more, others = one_pass()
        grad, logits = grad + more, logits + others
    return grad, logits


def trajectory(
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
    tick: Tick = lambda share=1.0: None,
    eot: int = 1,
    stop_early: bool = False,
    earlier: Trajectory | None = None,
) -> Trajectory:
    """Signed (linf) or normalised (l2) gradient steps, projected after each.

    With a `judge`, iterates that `net` gets wrong are shown to it until it agrees; their numbers
    are `first_wrong`. The start itself never counts: it may lie outside [0, 1]. `tick` is told of
    each step's forward and backward passes, and of which share of the batch they were.

    With `stop_early` an image ends as the iterate of its `first_wrong`: the others' iterates and
    all numbers are those of a run that goes on. `earlier` is then another start's trajectory: what
    it broke keeps its iterates, and is attacked only where it may break in fewer steps.
    """
    if judge is None and (stop_early or earlier):
        raise ValueError("only a judge can say which images stop early")
    last, iterates = max(budgets), dict[int, Images]()
    settled = x if earlier is None else earlier.iterates[last]
    first_wrong = torch.zeros_like(label) if earlier is None else earlier.first_wrong.clone()
    everything = torch.arange(len(label), device=label.device)
    front = _Front(everything, x, label, target, start, settled, first_wrong)
    del start  # a batch of images less to hold through the passes, where memory peaks
    for step in range(1, last + 1):
        grad, logits = gradient(net, front.adv, front.label, front.target, loss, eot)
        tick(eot * front.share)
        if judge is not None and step > 1:
            front.note_wrong(step - 1, logits, judge)
        if stop_early:
            grad = grad[front.leave(step)]
            if not len(front.index):
                break
        front.adv = threat.project(threat.move(front.adv, grad, alpha), front.x)
        del grad  # as above
        if step in budgets:
            iterates[step] = front.images
    return Trajectory({b: iterates.get(b, front.settled) for b in sorted(budgets)}, first_wrong)


def _by_step_size(spec: AttackSpec) -> dict[float, list[int]]:
    """Budgets that share a step size share a trajectory; the paper's PGD-10 has its own."""
    groups: dict[float, list[int]] = {}
    for budget in sorted(spec.iters):
        groups.setdefault(spec.step(budget), []).append(budget)
    return groups


def count_steps(spec: AttackSpec) -> int:
    """How often `run_pgd` ticks for a batch, at most: its forward and backward passes."""
    steps = sum(max(budgets) for budgets in _by_step_size(spec).values())
    return spec.restarts * spec.eot * steps


def _start(subject: Subject, spec: AttackSpec, restart: int) -> Images:
    x, key = subject.batch.x, f"start-{restart}"
    if not spec.random_start:
        return x
    return random_start(subject.batch.ids, x, subject.threat, key, subject.seed)


def run_pgd(subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
    """A reading for each budget and restart, named by the budget."""
    x, label = subject.batch.x, subject.batch.label
    paths: dict[float, Trajectory] = {}
    for restart in range(spec.restarts):
        for alpha, budgets in _by_step_size(spec).items():
            path = trajectory(
                subject.net,
                x,
                label,
                subject.threat,
                budgets=budgets,
                alpha=alpha,
                start=_start(subject, spec, restart),
                target=subject.target,
                loss=loss_named(spec.loss),
                judge=subject.judge,
                tick=subject.tick,
                eot=spec.eot,
                stop_early=spec.stop_early,
                earlier=paths.get(alpha),
            )
            if spec.stop_early:
                paths[alpha] = path
            for budget, adv in path.iterates.items():
                yield Reading(str(budget), adv, _up_to(path.first_wrong, budget))


def _up_to(first_wrong: Tensor, budget: int) -> Tensor:
    return torch.where(first_wrong <= budget, first_wrong, 0)
