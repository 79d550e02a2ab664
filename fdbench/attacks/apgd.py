"""Auto-PGD as an attack of its own, untargeted or towards each of the likeliest wrong classes.

Source: Croce and Hein 2020, Sec. 3. Unlike the package's, random numbers belong to the image, so
that batch size, resuming and the number of processes change no verdict, and broken images leave.
"""

from collections.abc import Iterator
from itertools import product

import torch

from fdbench.attacks.ascent import climb_some, likeliest, passes_of
from fdbench.attacks.catalogue import LOSSES
from fdbench.attacks.course import Course
from fdbench.attacks.protocol import Attack, Reading, Subject
from fdbench.specs import APGDParameters, AttackSpec

_TRIAL = 20  # iterations that show whether a precision weakens the attack


def _parameters_of(spec: AttackSpec) -> APGDParameters:
    if not isinstance(spec.parameters, APGDParameters):
        raise TypeError(f"{spec.attack} is not Auto-PGD")
    return spec.parameters


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
        return one.restarts * max(one.classes, 1) * passes_of(spec.norm, one.iters) * one.eot

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
        order = likeliest(subject, one.classes) if one.classes else None
        aims = 1 if order is None else order.shape[1]
        course = Course.of(batch.label, one.iters)
        for restart, rank in product(range(one.restarts), range(aims)):
            if len(left):
                result = climb_some(
                    subject, left, f"apgd-{restart}-{rank}", iters=one.iters,
                    loss=LOSSES[one.loss], target=None if order is None else order[left, rank],
                    eot=one.eot, tick=subject.tick,
                )  # fmt: skip
                adv[left] = result.adv
                passes[left] += result.passes
                course.put(left, result.course)
                left = left[~result.broken]
        yield Reading(self.name, adv, notes={"passes": passes.tolist()}, course=course)
