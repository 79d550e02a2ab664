"""The images of an Auto-PGD ascent, and how they step: with momentum (linf, l2), or sparsely (l1).

Every image keeps its own step, best point and history, so that none depends on the others.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from math import prod

import torch
from jaxtyping import Bool
from torch import Tensor

from fdbench.threat import Threat, onto_ball_in_box
from fdbench.types import Images, Labels, Values

_MOMENTUM = 0.75  # weight of the new step against the last one
_RHO = 0.75  # of a checkpoint's iterations, the share that must raise the loss
_FIRST, _SHORTER, _SHORTEST = 0.22, 0.03, 0.06  # checkpoints, as shares of all iterations
_PERIOD = 0.04  # between checkpoints in l1
_DENSER = 1.5  # a step changes the values that the best point has changed, over this
_SHORTER_BY, _LEAST_STEP = 1.5, 0.1  # of l1 steps, the last as a share of eps
_SETTLED = 0.95  # an l1 search whose best point lost fewer values than this settles on its place


def where(mask: Bool[Tensor, " B"], one: Images, other: Images) -> Images:
    """One image or the other, by a mask over images."""
    return torch.where(mask[:, None, None, None], one, other)


@dataclass
class Front(ABC):
    """The images still climbing; every field has one entry an image."""

    index: Labels  # positions among all images
    x: Images
    label: Labels
    target: Labels  # the label where there is none
    adv: Images
    best: Images
    best_grad: Images
    value: Values  # of the best point
    step: Values  # length of the next step, in the norm's unit

    def take(self, keep: Tensor) -> "Front":
        """The images at some positions, or of a mask."""
        return type(self)(**{one.name: getattr(self, one.name)[keep] for one in fields(self)})

    def learn(self, grad: Images, value: Values, first: bool) -> None:
        """Records the loss and the gradient at the present iterate."""
        if first:
            self.value, self.best_grad = value.clone(), grad.clone()
            return
        better = value > self.value
        self.value = torch.where(better, value, self.value)
        self.best = where(better, self.adv, self.best)
        self.best_grad = where(better, grad, self.best_grad)

    @staticmethod
    @abstractmethod
    def checkpoints(iters: int) -> dict[int, int]:
        """The length of the period that ends at each checkpoint, by its iteration."""

    @abstractmethod
    def check(self, period: int, grad: Images, threat: Threat) -> Images:
        """At a checkpoint: adapts steps, sends images back to their best points.

        Returns the gradients to go on with.
        """

    @abstractmethod
    def move(self, threat: Threat, grad: Images, step: int) -> None:
        """Takes a step, and projects."""


@dataclass
class Momentum(Front):
    """linf and l2 (Croce and Hein 2020, Sec. 3): the step halves where a loss stops rising."""

    previous: Images
    last: Values  # the loss at the last iterate
    rises: Labels  # iterations since the last checkpoint that raised the loss
    halved: Bool[Tensor, " B"]  # at the last checkpoint
    value_then: Values  # of the best point, at the last checkpoint

    def learn(self, grad: Images, value: Values, first: bool) -> None:
        """Also counts the iterations that raised the loss."""
        super().learn(grad, value, first)
        if first:
            self.value_then = value.clone()
            return
        self.rises += value > self.last
        self.last = value

    @staticmethod
    def checkpoints(iters: int) -> dict[int, int]:
        """Sec. 3.2: ever closer together."""
        period, at, ends = max(int(_FIRST * iters), 1), 0, {}
        while at + period <= iters:
            at += period
            ends[at] = period
            period = max(period - max(int(_SHORTER * iters), 1), max(int(_SHORTEST * iters), 1))
        return ends

    def check(self, period: int, grad: Images, threat: Threat) -> Images:
        """Halves the step of images that stopped rising, and sends them back."""
        stuck = ~self.halved & (self.value_then >= self.value)
        self.halved = (self.rises <= _RHO * period) | stuck
        self.value_then, self.rises = self.value, torch.zeros_like(self.rises)
        self.step = torch.where(self.halved, self.step / 2, self.step)
        self.adv = where(self.halved, self.best, self.adv)
        return where(self.halved, self.best_grad, grad)

    def move(self, threat: Threat, grad: Images, step: int) -> None:
        """Mixes the step with the last one."""
        weight = _MOMENTUM if step else 1.0
        ahead = threat.project(threat.move(self.adv, grad, self.step[:, None, None, None]), self.x)
        mixed = self.adv + weight * (ahead - self.adv) + (1 - weight) * (self.adv - self.previous)
        self.previous, self.adv = self.adv, threat.project(mixed, self.x)


@dataclass
class Sparse(Front):
    """l1 (Croce and Hein 2021, "Mind the box", Sec. 3): steps along the largest gradients alone.

    How many follows from how sparse the best point is. The projection is onto the ball and the box
    at once, since onto one and then the other gives most of the radius away.
    """

    share: Values  # of an image's values that a step changes
    count: Values  # values in which the best point differed, at the last checkpoint

    @staticmethod
    def checkpoints(iters: int) -> dict[int, int]:
        """At equal distances."""
        period = max(int(_PERIOD * iters), 1)
        return dict.fromkeys(range(period, iters + 1, period), period)

    def check(self, period: int, grad: Images, threat: Threat) -> Images:
        """Shortens steps, or starts anew from best points that became sparser."""
        count = changed(self.best, self.x)
        sparser = count / self.count < _SETTLED
        self.share, self.count = count / prod(self.x.shape[1:]) / _DENSER, count
        shorter = (self.step / _SHORTER_BY).clamp(min=_LEAST_STEP * threat.eps)
        self.step = torch.where(sparser, threat.eps, shorter)
        self.adv = where(sparser, self.best, self.adv)
        return where(sparser, self.best_grad, grad)

    def move(self, threat: Threat, grad: Images, step: int) -> None:
        """Moves the values with the largest gradients by equal amounts."""
        size = grad.flatten(1).abs()
        values = size.shape[1]
        rank = ((1 - self.share) * values).clamp(0, values - 1).long()
        least = size.sort(1).values.gather(1, rank[:, None])
        way = torch.where(size >= least, grad.flatten(1).sign(), 0.0)
        way = way / (way.abs().sum(1, keepdim=True) + 1e-10)
        delta = (self.adv - self.x).flatten(1) + self.step[:, None] * way
        self.adv = onto_ball_in_box(delta.view_as(self.x), self.x, threat.eps)


def onto(threat: Threat, adv: Images, x: Images) -> Images:
    """The nearest legal images: in l1 of ball and box at once."""
    if threat.norm == "l1":
        return onto_ball_in_box(adv - x, x, threat.eps)
    return threat.project(adv, x)


def changed(adv: Images, x: Images) -> Values:
    """In how many values each image differs."""
    return (adv != x).flatten(1).sum(1).float()


def front_at(
    x: Images, label: Labels, target: Labels | None, start: Images, threat: Threat
) -> Front:
    """All images at their starts."""
    nothing, never = torch.zeros(len(x), device=x.device), torch.zeros_like(label)
    kept = (
        torch.arange(len(x), device=x.device), x, label, label if target is None else target,
        start, start, torch.zeros_like(x), nothing,
    )  # fmt: skip
    if threat.norm == "l1":
        count = changed(start, x)
        share = count / prod(x.shape[1:]) / _DENSER
        return Sparse(*kept, nothing + threat.eps, share, count)
    return Momentum(*kept, nothing + 2 * threat.eps, start, nothing, never, never == 0, nothing)
