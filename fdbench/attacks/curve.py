"""The fast verdict at several radii, for less than the price of two.

An image that is wrong somewhere in a ball is wrong in every larger one, and where all stages fail,
they are taken to fail in every smaller ball. So each image is attacked from the largest radius
down: what breaks it there is shrunk towards the clean image for as long as it stays wrong, and the
attack goes on at the next smaller radius, until one withstands all stages. Successes are cheap;
each image pays for one failure. Robust accuracy falls with the radius by construction.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int64
from torch import Tensor

from fdbench.attacks.protocol import Reading, Subject
from fdbench.attacks.sweep import Pool, attack_left, begin
from fdbench.specs import FastParameters
from fdbench.threat import Threat
from fdbench.types import Images, Labels


@dataclass
class _Radius:
    """The outcome at one radius: adversaries, what broke each image, and the passes spent here."""

    adv: Images
    broken_by: list[str | None]
    passes: Labels

    def reading(self) -> Reading:
        notes = {"broken_by": self.broken_by, "passes": self.passes.tolist()}
        return Reading("fast", self.adv, notes=notes)


@dataclass(frozen=True)
class _Curve:
    """The radii in ascending order, and the outcome at each."""

    radii: tuple[float, ...]
    outcomes: list[_Radius]


def readings_at(
    subject: Subject, spec: FastParameters, radii: tuple[float, ...]
) -> dict[float, Reading]:
    """Returns the verdict at each radius, with adversaries inside it.

    `passes` counts what was spent at that radius, the first look at the clean images at the
    largest; `broken_by` names the stage, of this radius or a larger one, that broke the image.

    Args:
        subject: its judge accepts images within the largest radius.
        radii: in image units, in ascending order.
    """
    batch = subject.batch
    first = begin(subject, spec)
    outcomes = [
        _Radius(batch.x.clone(), list(first.broken_by), torch.zeros_like(batch.label))
        for _ in radii
    ]
    outcomes[-1].passes += first.passes
    curve = _Curve(radii, outcomes)
    place = torch.full_like(batch.label, -1)  # the radius where each image is attacked next
    place[first.left] = len(radii) - 1
    for number in range(len(radii) - 1, -1, -1):
        at = (place == number).nonzero()[:, 0]
        if len(at):
            pool = _attacked(subject, first, at, radii[number])
            outcomes[number].passes += pool.passes
            _shrink(subject, pool, at[~torch.isin(at, pool.left)], place, number, curve)
    return {radius: one.reading() for radius, one in zip(radii, outcomes, strict=True)}


def _attacked(subject: Subject, first: Pool, at: Int64[Tensor, " L"], radius: float) -> Pool:
    """All stages at one radius, on the images at some positions."""
    there = replace(subject, threat=Threat(subject.threat.norm, radius))
    passes = torch.zeros_like(subject.batch.label)
    pool = replace(
        first, subject=there, adv=subject.batch.x.clone(), left=at, passes=passes,
        broken_by=list(first.broken_by),
    )  # fmt: skip
    attack_left(pool)
    return pool


def _shrink(
    subject: Subject,
    pool: Pool,
    gone: Int64[Tensor, " G"],
    place: Labels,
    number: int,
    curve: _Curve,
) -> None:
    """Records broken images at their radius, and at smaller ones as long as they stay wrong.

    Each is attacked next at the largest radius where it is not wrong yet.
    """
    batch = subject.batch
    for smaller in range(number, -1, -1):
        share, one = curve.radii[smaller] / curve.radii[number], curve.outcomes[smaller]
        shrunk = batch.x[gone] + share * (pool.adv[gone] - batch.x[gone])
        if smaller < number and len(gone):
            one.passes[gone] += 1
            wrong = subject.judge(shrunk, gone) != batch.label[gone]
            place[gone[~wrong]] = smaller
            gone, shrunk = gone[wrong], shrunk[wrong]
        one.adv[gone] = shrunk
        for position in gone.tolist():
            one.broken_by[position] = pool.broken_by[position]
