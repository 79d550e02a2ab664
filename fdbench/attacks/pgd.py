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
from fdbench.attacks.catalogue import LOSSES
from fdbench.attacks.course import Course
from fdbench.attacks.differentiation import input_gradient
from fdbench.attacks.losses import Loss, cross_entropy
from fdbench.attacks.protocol import Attack, Judge, Reading, Subject, Tick
from fdbench.specs import AttackSpec, PGDParameters
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels, Logits, Net

_TRIAL = 20  # iterations that show whether a precision weakens the attack


@dataclass(frozen=True)
class Trajectory:
    """The iterates by budget, and each image's first iterate that was judged wrong (0: none)."""

    iterates: dict[int, Images]
    first_wrong: Labels
    course: Course


@dataclass
class _Front:
    """The images still under attack: the whole batch, less the broken images that were dropped.

    `settled` (the final iterates of dropped images) and `first_wrong` cover the whole batch.
    """

    index: Labels  # positions in the batch
    x: Images
    label: Labels
    target: Labels | None
    adv: Images
    settled: Images
    first_wrong: Labels
    course: Course

    @property
    def share(self) -> float:
        return len(self.index) / len(self.first_wrong)

    @property
    def images(self) -> Images:
        """The current images of the whole batch."""
        if self.share == 1:
            return self.adv
        return self.settled.index_copy(0, self.index, self.adv)

    def note_wrong(self, step: int, logits: Logits, judge: Judge) -> None:
        """Records images that break earlier than known so far, if the judge confirms it."""
        known = self.first_wrong[self.index]
        earlier = (known == 0) | (known > step)
        suspects = ((logits.argmax(1) != self.label) & earlier).nonzero()[:, 0]
        if len(suspects):
            positions = self.index[suspects]
            confirmed = judge(self.adv[suspects], positions) != self.label[suspects]
            self.first_wrong[positions[confirmed]] = step
            self.course.disputed[positions[~confirmed]] = True

    def drop_broken(self, step: int) -> Bool[Tensor, " B"]:
        """Drops images whose iterates from `step` on add no information; returns the mask kept.

        A later restart still tests whether an image breaks earlier than before.
        """
        known = self.first_wrong[self.index]
        stays = (known == 0) | (known > step)
        if stays.all():
            return stays
        broken = ~stays & (known < step)  # in this restart: earlier ones are settled
        self.settled = self.settled.index_copy(0, self.index[broken], self.adv[broken])
        self.index, self.x, self.adv = self.index[stays], self.x[stays], self.adv[stays]
        self.label = self.label[stays]
        self.target = None if self.target is None else self.target[stays]
        return stays


def random_start(
    batch_ids: Sequence[int | str], x: Images, threat: Threat, key: str, seed: int
) -> Images:
    """Returns a start inside the ball for each image, from its own random stream (contract C3)."""
    unit = randomness.uniform(seed, key, batch_ids, (prod(x.shape[1:]) + 1,))
    return threat.start(x, torch.from_numpy(unit).to(x.device))


def gradient(
    net: Net, adv: Images, label: Labels, target: Labels | None, loss: Loss, eot: int = 1
) -> tuple[Images, Logits]:
    """Returns the gradient of the loss with respect to the images, and the logits.

    The loss is summed over the batch, so that no image's gradient depends on the batch size. Both
    are means over `eot` passes, for networks that draw random numbers: expectation over
    transformation (Athalye et al. 2018, "Synthesizing robust adversarial examples").
    Raises NoGradient if the network cuts it.
    """

    def one_pass() -> tuple[Images, Logits]:
        with torch.enable_grad():
            leaf = adv.detach().requires_grad_()
            logits = net(leaf)
            total = loss(logits, label, target).sum() / eot
            grad = input_gradient(total, leaf)
        return grad, logits.detach() / eot

    grad, logits = one_pass()
    for _ in range(eot - 1):
        more, others = one_pass()
        grad, logits = grad + more, logits + others
    return grad, logits


def _front(
    x: Images,
    label: Labels,
    target: Labels | None,
    start: Images,
    earlier: Trajectory | None,
    last: int,
) -> _Front:
    """All images, before the first step; `earlier` says which are broken already."""
    settled = x if earlier is None else earlier.iterates[last]
    first_wrong = torch.zeros_like(label) if earlier is None else earlier.first_wrong.clone()
    everything = torch.arange(len(label), device=label.device)
    course = Course.of(label, last)
    return _Front(everything, x, label, target, start, settled, first_wrong, course)


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
    tick: Tick = lambda share=1.0, stage="": None,
    eot: int = 1,
    stop_early: bool = False,
    earlier: Trajectory | None = None,
) -> Trajectory:
    """Takes signed (linf) or normalised (l2) gradient steps, projecting after each.

    With a `judge`, iterates that `net` misclassifies are passed to it until it agrees; that step is
    the image's `first_wrong`. The start never counts: it may be outside [0, 1]. `tick` is called
    for each step's forward and backward passes, with the share of the batch still attacked.

    With `stop_early` an image stops at its `first_wrong` iterate; other images' iterates and all
    `first_wrong` equal those of a full run. `earlier` is then the trajectory of another start: the
    images it broke keep its iterates, and are attacked only while they may break in fewer steps.
    """
    if judge is None and (stop_early or earlier):
        raise ValueError("only a judge can say which images stop early")
    budgets, last, iterates = sorted(budgets), max(budgets), dict[int, Images]()
    front = _front(x, label, target, start, earlier, last)
    del start  # frees a batch of images before the passes, where memory peaks
    for step in range(1, last + 1):
        grad, logits = gradient(net, front.adv, front.label, front.target, loss, eot)
        tick(eot * front.share)
        front.course.learn(step, front.index, loss(logits, front.label, front.target))
        if judge is not None and step > 1:
            front.note_wrong(step - 1, logits, judge)
        if stop_early:
            grad = grad[front.drop_broken(step)]
            if not len(front.index):
                break
        front.adv = threat.project(threat.move(front.adv, grad, alpha), front.x)
        del grad  # as above
        if step in budgets:
            iterates[step] = front.images
    return Trajectory(
        {b: iterates.get(b, front.settled) for b in budgets}, front.first_wrong, front.course
    )


def last_iterate(
    net: nn.Module,
    batch: Batch,
    threat: Threat,
    *,
    iters: int,
    alpha: float,
    stream: str | None,
    seed: int,
    target: Labels | None = None,
    loss: Loss = cross_entropy,
    eot: int = 1,
    tick: Tick = lambda share=1.0, stage="": None,
) -> Images:
    """Returns the last iterate of one trajectory; `stream` names its random start's numbers.

    Starts from the clean images if `stream` is None. Legal if the network's gradient is finite.
    """
    start = batch.x
    if stream is not None:
        start = random_start(batch.ids, batch.x, threat, stream, seed)
    path = trajectory(
        net,
        batch.x,
        batch.label,
        threat,
        budgets=[iters],
        alpha=alpha,
        start=start,
        target=target,
        loss=loss,
        eot=eot,
        tick=tick,
    )
    return path.iterates[iters]


def _pgd_parameters(spec: AttackSpec) -> PGDParameters:
    """Returns the spec's parameters, typed as PGD's."""
    if not isinstance(spec.parameters, PGDParameters):
        raise TypeError(f"{spec.attack} is not PGD")
    return spec.parameters


def _by_step_size(spec: AttackSpec) -> dict[float, list[int]]:
    """Groups budgets by step size, one trajectory each; the paper's PGD-10 has its own."""
    groups: dict[float, list[int]] = {}
    for budget in sorted(_pgd_parameters(spec).iters):
        groups.setdefault(_pgd_parameters(spec).step(spec, budget), []).append(budget)
    return groups


def _up_to(first_wrong: Tensor, budget: int) -> Tensor:
    return torch.where(first_wrong <= budget, first_wrong, 0)


class PGD(Attack):
    """White-box PGD, read at every budget of `iters` (paper, Sec. 6.1)."""

    name = "pgd"
    parameters = PGDParameters

    def check(self, spec: AttackSpec) -> None:
        """Raises BadValue for a norm without gradient steps, or an unknown loss."""
        Threat(spec.norm, spec.eps).check_steps()
        LOSSES.check(_pgd_parameters(spec).loss)

    def cost(self, spec: AttackSpec) -> int:
        """Counts passes: the longest trajectory of each step size and restart, times `eot`."""
        steps = sum(max(budgets) for budgets in _by_step_size(spec).values())
        return _pgd_parameters(spec).restarts * _pgd_parameters(spec).eot * steps

    def trial(self, spec: AttackSpec) -> AttackSpec:
        """Returns one start of at most 20 iterations: nearly converges, at little cost."""
        iters = min(max(_pgd_parameters(spec).iters), _TRIAL)
        return spec.with_parameters(iters=(iters,), restarts=1, stop_early=False)

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """Yields a reading for each budget and restart, named after the budget."""
        parameters = _pgd_parameters(spec)
        paths: dict[float, Trajectory] = {}
        for restart in range(parameters.restarts):
            for alpha, budgets in _by_step_size(spec).items():
                path = self._path(subject, parameters, restart, alpha, budgets, paths.get(alpha))
                if parameters.stop_early:
                    paths[alpha] = path
                for budget, adv in path.iterates.items():
                    first_wrong = _up_to(path.first_wrong, budget)
                    yield Reading(str(budget), adv, first_wrong, course=path.course)

    def _path(
        self,
        subject: Subject,
        parameters: PGDParameters,
        restart: int,
        alpha: float,
        budgets: list[int],
        earlier: Trajectory | None,
    ) -> Trajectory:
        batch, threat = subject.batch, subject.threat
        start = batch.x
        if parameters.random_start:
            start = random_start(batch.ids, batch.x, threat, f"start-{restart}", subject.seed)
        return trajectory(
            subject.net,
            batch.x,
            batch.label,
            threat,
            budgets=budgets,
            alpha=alpha,
            start=start,
            target=subject.target,
            loss=LOSSES[parameters.loss],
            judge=subject.judge,
            tick=subject.tick,
            eot=parameters.eot,
            stop_early=parameters.stop_early,
            earlier=earlier,
        )
