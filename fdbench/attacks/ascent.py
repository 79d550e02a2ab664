"""Auto-PGD's ascent: momentum, and a step that halves where an image's loss stops rising.

Source: Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of
diverse parameter-free attacks", Sec. 3 and Algorithm 1. Every image keeps its own step, best point
and history, so that no result depends on the others in its batch; an image leaves at its first
iterate that the judge finds wrong, and the rest go on in a smaller batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from fdbench.attacks.losses import Loss
from fdbench.attacks.pgd import gradient, random_start
from fdbench.attacks.protocol import Subject, Tick
from fdbench.threat import Threat
from fdbench.types import Images, Labels, Logits, Values

_MOMENTUM = 0.75  # weight of the new step against the last one
_RHO = 0.75  # of a checkpoint's iterations, the share that must raise the loss
_FIRST, _SHORTER, _SHORTEST = 0.22, 0.03, 0.06  # checkpoints, as shares of all iterations
_STEP = 2.0  # the first step, in eps

# Judges some of the images by their positions: (adversaries, positions) -> the predicted classes.
JudgeAt = Callable[[Images, Labels], Labels]


@dataclass(frozen=True)
class Climb:
    """Where each image got to.

    Attributes:
        adv: the first wrong iterate of broken images, the point of the highest loss of the others.
        value: the highest loss.
        broken: which images the judge found wrong.
        step: the iterate that broke the image, 0 for the start; the last one if none did.
        passes: forward and backward passes spent, each counted once.
    """

    adv: Images
    value: Values
    broken: Bool[Tensor, " B"]
    step: Labels
    passes: Labels


@dataclass
class _Front:
    """The images still climbing; every field has one entry an image."""

    index: Labels  # positions among all images
    x: Images
    label: Labels
    target: Labels  # the label where there is none
    adv: Images
    previous: Images
    best: Images
    best_grad: Images
    value: Values  # of the best point
    last: Values  # the loss at the last iterate
    step: Values  # length of the next step, in image units
    rises: Labels  # iterations since the last checkpoint that raised the loss
    halved: Bool[Tensor, " B"]  # at the last checkpoint
    value_then: Values  # of the best point, at the last checkpoint

    def take(self, keep: Tensor) -> "_Front":
        """The images at some positions, or of a mask."""
        return _Front(**{one.name: getattr(self, one.name)[keep] for one in fields(self)})

    def learn(self, grad: Images, value: Values, first: bool) -> None:
        """Records the loss and the gradient at the present iterate."""
        if first:
            self.value, self.value_then, self.best_grad = value.clone(), value.clone(), grad.clone()
            return
        self.rises += value > self.last
        self.last = value
        better = value > self.value
        self.value = torch.where(better, value, self.value)
        self.best = _where(better, self.adv, self.best)
        self.best_grad = _where(better, grad, self.best_grad)

    def check(self, period: int, grad: Images) -> Images:
        """At a checkpoint: halves the step of images that stopped rising, and sends them back.

        Returns the gradients to go on with.
        """
        stuck = ~self.halved & (self.value_then >= self.value)
        self.halved = (self.rises <= _RHO * period) | stuck
        self.value_then, self.rises = self.value, torch.zeros_like(self.rises)
        self.step = torch.where(self.halved, self.step / 2, self.step)
        self.adv = _where(self.halved, self.best, self.adv)
        return _where(self.halved, self.best_grad, grad)

    def move(self, threat: Threat, grad: Images, weight: float) -> None:
        """Takes a step, mixed with the last one, and projects."""
        ahead = threat.project(threat.move(self.adv, grad, self.step[:, None, None, None]), self.x)
        mixed = self.adv + weight * (ahead - self.adv) + (1 - weight) * (self.adv - self.previous)
        self.previous, self.adv = self.adv, threat.project(mixed, self.x)


def _front(x: Images, label: Labels, target: Labels | None, start: Images, step: float) -> _Front:
    """All images at their starts."""
    nothing, never = torch.zeros(len(x), device=x.device), torch.zeros_like(label)
    return _Front(
        torch.arange(len(x), device=x.device), x, label, label if target is None else target,
        start, start, start, torch.zeros_like(x), nothing, nothing, nothing + step, never,
        never == 0, nothing,
    )  # fmt: skip


def _where(mask: Bool[Tensor, " B"], one: Images, other: Images) -> Images:
    return torch.where(mask[:, None, None, None], one, other)


def _checkpoints(iters: int) -> dict[int, int]:
    """The length of the period that ends at each checkpoint, by its iteration (Sec. 3.2)."""
    period, at, found = max(int(_FIRST * iters), 1), 0, {}
    while at + period <= iters:
        at += period
        found[at] = period
        period = max(period - max(int(_SHORTER * iters), 1), max(int(_SHORTEST * iters), 1))
    return found


def climb(
    net: nn.Module,
    x: Images,
    label: Labels,
    threat: Threat,
    *,
    start: Images,
    iters: int,
    loss: Loss,
    target: Labels | None = None,
    judge: JudgeAt | None = None,
    tick: Tick = lambda share=1.0, stage="": None,
    eot: int = 1,
) -> Climb:
    """Climbs the loss from `start` in `iters` steps; the first is 2 eps long.

    Args:
        net: the attacked network.
        start: a point for each image; it is projected first, and counts as an iterate.
        judge: asked about iterates that `net` finds wrong; None: no image leaves early.
        tick: called for each step's forward and backward passes, with the share still climbing.
        eot: passes that each gradient is averaged over.
    """
    start, count = threat.project(start, x), len(x)
    front = _front(x, label, target, start, _STEP * threat.eps)
    never = torch.zeros_like(label)
    done = Climb(start.clone(), front.value - torch.inf, never > 0, never + iters, never.clone())
    ends = _checkpoints(iters)
    for step in range(iters + 1):
        aim, last = None if target is None else front.target, step == iters
        grad, logits = _pass(net, front, aim, loss, eot, last=last)
        cost = eot * (1 if last else 2)
        tick(cost / 2 * len(front.index) / count)
        done.passes[front.index] += cost
        front.learn(grad, loss(logits, front.label, aim), first=step == 0)
        if judge is not None:
            stays = _leave(front, logits.argmax(1) != front.label, step, judge, done)
            if not stays.all():
                front, grad = front.take(stays), grad[stays]
            if not len(front.index):
                break
        if last:
            break
        if step in ends:
            grad = front.check(ends[step], grad)
        front.move(threat, grad, _MOMENTUM if step else 1.0)
    done.adv[front.index], done.value[front.index] = front.best, front.value
    return done


def climb_some(
    subject: Subject,
    at: Int64[Tensor, " L"],
    stream: str,
    *,
    iters: int,
    loss: Loss,
    target: Labels | None,
    eot: int,
    tick: Tick,
) -> Climb:
    """Climbs with the images at some positions of a batch, from random starts of their own.

    Args:
        stream: names the starts' random numbers.
        target: the class of each of these images; None: away from their labels.
    """
    batch = subject.batch
    ids = [batch.ids[position] for position in at.tolist()]
    return climb(
        subject.net, batch.x[at], batch.label[at], subject.threat,
        start=random_start(ids, batch.x[at], subject.threat, stream, subject.seed),
        iters=iters, loss=loss, target=target, tick=tick, eot=eot,
        judge=lambda adv, index: subject.judge(adv, at[index]),
    )  # fmt: skip


def likeliest(subject: Subject, count: int) -> Int64[Tensor, "B K"]:
    """The wrong classes of each image by their logits, at most `count` of them."""
    with torch.no_grad():
        logits = subject.net(subject.batch.x)
    others = logits.scatter(1, subject.batch.label[:, None], -torch.inf)
    return others.topk(min(count, subject.classes - 1), 1).indices


def _pass(
    net: nn.Module, front: _Front, target: Labels | None, loss: Loss, eot: int, *, last: bool
) -> tuple[Images, Logits]:
    """Gradients and logits, means over `eot` passes; no new gradients at the last iterate."""
    if not last:
        return gradient(net, front.adv, front.label, target, loss, eot)
    with torch.no_grad():
        return front.best_grad, torch.stack([net(front.adv) for _ in range(eot)]).mean(0)


def _leave(
    front: _Front, wrong: Bool[Tensor, " B"], step: int, judge: JudgeAt, done: Climb
) -> Bool[Tensor, " B"]:
    """Records the images that the judge finds wrong too; returns which ones stay."""
    stays = torch.ones_like(wrong)
    suspects = wrong.nonzero()[:, 0]
    if len(suspects):
        positions = front.index[suspects]
        done.passes[positions] += 1
        broken = judge(front.adv[suspects], positions) != front.label[suspects]
        gone, at = suspects[broken], positions[broken]
        done.adv[at], done.value[at] = front.adv[gone], front.value[gone]
        done.broken[at], done.step[at] = True, step
        stays[gone] = False
    return stays
