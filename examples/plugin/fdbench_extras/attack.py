"""Random corners of the threat's ball: what an attack reaches without a gradient."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from fdbench.attacks import Attack, Reading, Subject
from fdbench.randomness import uniform
from fdbench.specs import AttackSpec, Parameters, parameter


@dataclass(frozen=True)
class CornersParameters(Parameters):
    """How many corners are tried."""

    summary: ClassVar[str] = "Random corners of the linf ball; the worst of several counts."
    norms: ClassVar[tuple[str, ...]] = ("linf",)
    goals: ClassVar[tuple[str, ...]] = ("untargeted",)

    tries: int = parameter(10, "Corners tried for each image.", least=1)


class Corners(Attack):
    """Yields one reading a corner; readings of one name are merged, worst case an image."""

    name = "corners"
    parameters = CornersParameters

    def cost(self, spec: AttackSpec) -> int:
        """Counts the tries: each is judged in one pass."""
        assert isinstance(spec.parameters, CornersParameters)
        return spec.parameters.tries

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """Yields legal images; the evaluation judges them."""
        batch, threat = subject.batch, subject.threat
        for corner in range(self.cost(spec)):
            stream, shape = f"corner-{corner}", tuple(batch.x.shape[1:])
            numbers = torch.from_numpy(uniform(subject.seed, stream, batch.ids, shape))
            signs = numbers.to(batch.x.device).sub(0.5).sign()
            yield Reading("corners", threat.project(batch.x + threat.eps * signs, batch.x))
            subject.tick()


CORNERS = Corners()
