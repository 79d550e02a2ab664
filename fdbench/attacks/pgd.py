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
from fdbench.attacks.losses import Loss, cross_entropy
from fdbench.attacks.protocol import Attack, Judge, Reading, Subject, Tick
from fdbench.specs import AttackSpec, PGDParameters
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels, Logits

_TRIAL = 20  # iterations that tell whether a precision weakens the attack


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
    tick: Tick = lambda share=1.0: None,
) -> Images:
    """The last iterate of one trajectory; `stream` names the numbers of its random start.

    From the clean images where `stream` is None. Legal where the network's gradient is finite.
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


def _known(spec: AttackSpec) -> PGDParameters:
    """The spec's parameters, which are PGD's."""
    if not isinstance(spec.parameters, PGDParameters):
        raise TypeError(f"{spec.attack} is not PGD")
    return spec.parameters


def _by_step_size(spec: AttackSpec) -> dict[float, list[int]]:
    """Budgets that share a step size share a trajectory; the paper's PGD-10 has its own."""
    groups: dict[float, list[int]] = {}
    for budget in sorted(_known(spec).iters):
        groups.setdefault(_known(spec).step(spec, budget), []).append(budget)
    return groups


def _up_to(first_wrong: Tensor, budget: int) -> Tensor:
    return torch.where(first_wrong <= budget, first_wrong, 0)


class PGD(Attack):
    """White-box PGD, read at every budget of `iters` (paper, Sec. 6.1)."""

    name = "pgd"
    parameters = PGDParameters

    def check(self, spec: AttackSpec) -> None:
        """Raises BadValue for a norm without gradient steps."""
        Threat(spec.norm, spec.eps).check_steps()
        LOSSES.check(_known(spec).loss)

    def cost(self, spec: AttackSpec) -> int:
        """Forward and backward passes: the longest trajectory of each step size and restart."""
        steps = sum(max(budgets) for budgets in _by_step_size(spec).values())
        return _known(spec).restarts * _known(spec).eot * steps

    def trial(self, spec: AttackSpec) -> AttackSpec:
        """One start and at most 20 iterations: enough to converge nearly, a fraction of the run."""
        iters = min(max(_known(spec).iters), _TRIAL)
        return spec.with_parameters(iters=(iters,), restarts=1, stop_early=False)

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """A reading for each budget and restart, named by the budget."""
        own = _known(spec)
        paths: dict[float, Trajectory] = {}
        for restart in range(own.restarts):
            for alpha, budgets in _by_step_size(spec).items():
                path = self._path(subject, own, restart, alpha, budgets, paths.get(alpha))
                if own.stop_early:
                    paths[alpha] = path
                for budget, adv in path.iterates.items():
                    yield Reading(str(budget), adv, _up_to(path.first_wrong, budget))

    def _path(
        self,
        subject: Subject,
        own: PGDParameters,
        restart: int,
        alpha: float,
        budgets: list[int],
        earlier: Trajectory | None,
    ) -> Trajectory:
        batch, threat = subject.batch, subject.threat
        start = batch.x
        if own.random_start:
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
            loss=LOSSES[own.loss],
            judge=subject.judge,
            tick=subject.tick,
            eot=own.eot,
            stop_early=own.stop_early,
            earlier=earlier,
        )
