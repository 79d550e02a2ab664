"""The fast verdict: targeted Auto-PGD where it pays, and a guard against masked gradients.

What its stages do is in attacks/sweep.py; several radii at once, in attacks/curve.py.
"""

from collections.abc import Iterator, Mapping

from fdbench.attacks.ascent import passes_of
from fdbench.attacks.course import Course
from fdbench.attacks.curve import readings_at
from fdbench.attacks.protocol import Reading, Subject
from fdbench.attacks.several_radii import SeveralRadii
from fdbench.attacks.sweep import AROUND, FIRST, SURROGATE_CLASSES, Pool, attack_left, begin
from fdbench.specs import AttackSpec, FastParameters

_CURVE = 2  # at most about this many verdicts' passes, whatever the number of radii


class Fast(SeveralRadii):
    """The fast verdict at one radius, or at several in one run."""

    name = "fast"
    parameters = FastParameters
    drops_broken = True

    def cost(self, spec: AttackSpec) -> int:
        """Returns the most gradients that an image can cost which is not near to breaking."""
        parameters = _parameters_of(spec)
        climb = passes_of(spec.norm, FIRST[spec.norm])
        sweep = parameters.classes * climb
        around = passes_of(spec.norm, AROUND) + SURROGATE_CLASSES * climb
        guard = around + parameters.queries // 2 if parameters.guard else 0
        once = (climb + sweep) * parameters.eot + guard
        return once * (_CURVE if parameters.radii else 1)

    def trial(self, spec: AttackSpec) -> AttackSpec:
        """Returns the gradient stages without the guard, towards three classes."""
        classes = min(3, _parameters_of(spec).classes)
        return spec.with_parameters(classes=classes, guard=False, radii=None)

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """Yields one reading, "fast", with what broke each image, and its passes."""
        parameters = _parameters_of(spec)
        if parameters.radii:
            yield self.one_of(subject, spec, parameters.radii)
            return
        pool = begin(subject, parameters)
        attack_left(pool)
        notes = {"broken_by": pool.broken_by, "passes": pool.passes.tolist()}
        yield Reading(self.name, pool.adv, notes=notes, course=_course_of(pool))

    def readings(
        self, subject: Subject, spec: AttackSpec, radii: tuple[float, ...]
    ) -> Mapping[float, Reading]:
        """Attacks each image from the largest radius down."""
        return readings_at(subject, _parameters_of(spec), radii)


def _course_of(pool: Pool) -> Course:
    """What the stages saw of copies that mislead them; that each climb is short is their design."""
    course = Course.of(pool.passes, FIRST[pool.subject.threat.norm])
    course.disputed[:] = pool.disputed
    return course


def _parameters_of(spec: AttackSpec) -> FastParameters:
    if not isinstance(spec.parameters, FastParameters):
        raise TypeError(f"{spec.attack} is not the fast verdict")
    return spec.parameters
