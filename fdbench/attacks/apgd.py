"""Auto-PGD as an attack of its own, untargeted or towards each of the likeliest wrong classes.

Source: Croce and Hein 2020, Sec. 3. Unlike the package's, random numbers belong to the image, so
that batch size, resuming and the number of processes change no verdict, and broken images leave.
"""

from collections.abc import Iterator
from itertools import product

import torch
from jaxtyping import Int64
from torch import Tensor

from fdbench.attacks.ascent import Climb, climb
from fdbench.attacks.catalogue import LOSSES
from fdbench.attacks.pgd import random_start
from fdbench.attacks.protocol import Attack, Reading, Subject
from fdbench.specs import APGDParameters, AttackSpec
from fdbench.types import Labels

_TRIAL = 20  # iterations that show whether a precision weakens the attack


def _parameters_of(spec: AttackSpec) -> APGDParameters:
    if not isinstance(spec.parameters, APGDParameters):
        raise TypeError(f"{spec.attack} is not Auto-PGD")
    return spec.parameters


def _aims(subject: Subject, classes: int) -> list[Labels | None]:
    """The wrong classes to try in turn, likeliest first; None is away from the label."""
    if not classes:
        return [None]
    with torch.no_grad():
        logits = subject.net(subject.batch.x)
    others = logits.scatter(1, subject.batch.label[:, None], -torch.inf)
    return list(others.topk(min(classes, subject.classes - 1), 1).indices.T)


class APGD(Attack):
    """Auto-PGD: each image's first wrong iterate, or the point of its highest loss."""

    name = "apgd"
    parameters = APGDParameters
    drops_broken = True

    def check(self, spec: AttackSpec) -> None:
        """Raises BadValue for an unknown loss."""
        LOSSES.check(_parameters_of(spec).loss)

    def cost(self, spec: AttackSpec) -> int:
        """Returns the passes of an image that does not break."""
        one = _parameters_of(spec)
        return one.restarts * max(one.classes, 1) * (one.iters + 1) * one.eot

    def trial(self, spec: AttackSpec) -> AttackSpec:
        """Returns one start of at most 20 iterations."""
        iters = min(_parameters_of(spec).iters, _TRIAL)
        return spec.with_parameters(iters=iters, restarts=1, classes=0)

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """Yields one reading, "apgd", with the passes spent on each image."""
        one, batch = _parameters_of(spec), subject.batch
        everything = torch.arange(len(batch.ids), device=batch.x.device)
        left = everything[subject.judge(batch.x, everything) == batch.label]
        adv, passes = batch.x.clone(), torch.ones_like(batch.label)
        aims = _aims(subject, one.classes)
        for restart, rank in product(range(one.restarts), range(len(aims))):
            if len(left):
                result = _from_start(subject, one, left, aims[rank], f"apgd-{restart}-{rank}")
                adv[left] = result.adv
                passes[left] += result.passes
                left = left[~result.broken]
        yield Reading(self.name, adv, notes={"passes": passes.tolist()})


def _from_start(
    subject: Subject,
    one: APGDParameters,
    at: Int64[Tensor, " L"],
    aim: Labels | None,
    stream: str,
) -> Climb:
    """Attacks the images at some positions from one random start."""
    batch = subject.batch
    ids = [batch.ids[position] for position in at.tolist()]
    return climb(
        subject.net, batch.x[at], batch.label[at], subject.threat,
        start=random_start(ids, batch.x[at], subject.threat, stream, subject.seed),
        iters=one.iters, loss=LOSSES[one.loss], target=None if aim is None else aim[at],
        judge=lambda adv, index: subject.judge(adv, at[index]), tick=subject.tick, eot=one.eot,
    )  # fmt: skip
