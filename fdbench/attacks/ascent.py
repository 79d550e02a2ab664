"""Auto-PGD's ascent: momentum, and a step that halves where an image's loss stops rising.

Source: Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of
diverse parameter-free attacks", Sec. 3 and Algorithm 1. Every image keeps its own step, best point
and history, so that no result depends on the others in its batch; an image leaves at its first
iterate that the judge finds wrong, and the rest go on in a smaller batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from fdbench.attacks.course import Course
from fdbench.attacks.front import Front, front_at, onto
from fdbench.attacks.losses import Loss
from fdbench.attacks.pgd import gradient, random_start
from fdbench.attacks.protocol import Subject, Tick
from fdbench.threat import Threat
from fdbench.types import Images, Labels, Logits, Net, Values

# l1: radii in eps, and iterations at each (Croce and Hein 2021, Sec. 4.2)
_LARGER = ((3.0, 0.3), (2.0, 0.3))
_FEW = 10  # iterations below which there is one ball

# Judges some of the images by their positions: (adversaries, positions) -> the predicted classes.
JudgeAt = Callable[[Images, Labels], Labels]


def judged_among(judge: JudgeAt, at: Int64[Tensor, " L"]) -> JudgeAt:
    """The judge of the images at some positions only, asked by their places among these."""
    return lambda adv, index: judge(adv, at[index])


@dataclass(frozen=True)
class Climb:
    """Where each image got to.

    Attributes:
        adv: the first wrong iterate of broken images, the point of the highest loss of the others.
        value: the highest loss.
        broken: which images the judge found wrong.
        step: the iterate that broke the image, 0 for the start; the last one if none did.
        passes: forward and backward passes spent, each counted once.
        course: the losses on the way, of attacks that follow them.
    """

    adv: Images
    value: Values
    broken: Bool[Tensor, " B"]
    step: Labels
    passes: Labels
    course: Course

    @classmethod
    def begun(cls, adv: Images, label: Labels, last: int) -> "Climb":
        """Nothing spent and nothing broken yet; `last` iterations are to come."""
        never = torch.zeros_like(label)
        low = torch.full(label.shape, -torch.inf, device=adv.device)
        course = Course.of(label, last)
        return cls(adv.clone(), low, never > 0, never + last, never.clone(), course)


def climb(
    net: Net,
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
    start, count = onto(threat, start, x), len(x)
    front = front_at(x, label, target, start, threat)
    done, ends = Climb.begun(start, label, iters), front.checkpoints(iters)
    for step in range(iters + 1):
        aim, last = None if target is None else front.target, step == iters
        grad, logits = _pass(net, front, aim, loss, eot, last=last)
        cost = eot * (1 if last else 2)
        tick(cost / 2 * len(front.index) / count)
        done.passes[front.index] += cost
        value = loss(logits, front.label, aim)
        done.course.learn(step + 1, front.index, value)
        front.learn(grad, value, first=step == 0)
        if judge is not None:
            stays = _leave(front, logits.argmax(1) != front.label, step, judge, done)
            if not stays.all():
                front, grad = front.take(stays), grad[stays]
            if not len(front.index):
                break
        if last:
            break
        if step in ends:
            grad = front.check(ends[step], grad, threat)
        front.move(threat, grad, step)
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

    In l1 it begins in balls three and two times as large, from whose best points it goes on.

    Args:
        stream: names the starts' random numbers.
        target: the class of each of these images; None: away from their labels.
    """
    batch, threat = subject.batch, subject.threat
    x, label = batch.x[at], batch.label[at]
    ids = [batch.ids[position] for position in at.tolist()]
    phases = _phases(threat, iters)
    start = random_start(ids, x, phases[0][0] if phases else threat, stream, subject.seed)
    ascend = partial(climb, subject.net, x, label, loss=loss, target=target, tick=tick, eot=eot)
    spent = torch.zeros_like(label)
    for larger, some in phases:
        first = ascend(larger, start=start, iters=some)
        start, spent, iters = first.adv, spent + first.passes, iters - some
    result = ascend(threat, start=start, iters=iters, judge=judged_among(subject.judge, at))
    return replace(result, passes=result.passes + spent)


def _phases(threat: Threat, iters: int) -> list[tuple[Threat, int]]:
    """The larger balls that a climb begins in, with its iterations there."""
    if threat.norm != "l1" or iters < _FEW:
        return []
    return [(Threat("l1", times * threat.eps), int(share * iters)) for times, share in _LARGER]


def passes_of(norm: str, iters: int) -> int:
    """The forward and backward passes of a climb, counted as one each pair."""
    return iters + 1 + len(_phases(Threat(norm, 1.0), iters))


def likeliest(subject: Subject, count: int) -> Int64[Tensor, "B K"]:
    """The wrong classes of each image by their logits, at most `count` of them."""
    with torch.no_grad():
        logits = subject.net(subject.batch.x)
    others = logits.scatter(1, subject.batch.label[:, None], -torch.inf)
    return others.topk(min(count, subject.classes - 1), 1).indices


def _pass(
    net: Net, front: Front, target: Labels | None, loss: Loss, eot: int, *, last: bool
) -> tuple[Images, Logits]:
    """Gradients and logits, means over `eot` passes; no new gradients at the last iterate."""
    if not last:
        return gradient(net, front.adv, front.label, target, loss, eot)
    with torch.no_grad():
        return front.best_grad, torch.stack([net(front.adv) for _ in range(eot)]).mean(0)


def _leave(
    front: Front, wrong: Bool[Tensor, " B"], step: int, judge: JudgeAt, done: Climb
) -> Bool[Tensor, " B"]:
    """Records the images that the judge finds wrong too; returns which ones stay."""
    stays = torch.ones_like(wrong)
    suspects = wrong.nonzero()[:, 0]
    if len(suspects):
        positions = front.index[suspects]
        done.passes[positions] += 1
        broken = judge(front.adv[suspects], positions) != front.label[suspects]
        gone, at = suspects[broken], positions[broken]
        done.course.disputed[positions[~broken]] = True
        done.adv[at], done.value[at] = front.adv[gone], front.value[gone]
        done.broken[at], done.step[at] = True, step
        stays[gone] = False
    return stays
