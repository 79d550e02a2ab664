"""Short attack specs, and attacks scripted by a test."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from fdbench.attacks import Attack, Draws, Reading, Subject
from fdbench.specs import AttackSpec, Parameters, PGDParameters


def pgd_spec(**settings: Any) -> AttackSpec:
    """PGD with fields of the spec and of its parameters, all by name."""
    names = {one.name for one in fields(PGDParameters)} & settings.keys()
    parameters = PGDParameters(**{name: settings.pop(name) for name in names})
    return AttackSpec("pgd", **settings, parameters=parameters)


class Scripted(Attack):
    """An attack whose `run` is a function of the test; it ticks at most once."""

    name = "scripted"
    parameters = Parameters

    def __init__(
        self,
        run: Callable[[Subject, AttackSpec], Iterator[Reading]],
        draws: Draws = "image",
        reference_draws: Draws | None = None,
    ) -> None:
        self._run = run
        self.draws = draws  # type: ignore[misc]
        self.reference_draws = reference_draws  # type: ignore[misc]

    def cost(self, spec: AttackSpec) -> int:
        return 1

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        return self._run(subject, spec)
