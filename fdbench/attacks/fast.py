"""The fast verdict: targeted Auto-PGD where it pays, and a guard against masked gradients.

What its stages do is in attacks/sweep.py; several radii at once, in attacks/curve.py.
"""

from collections.abc import Iterator

from fdbench.attacks.ascent import passes_of
from fdbench.attacks.course import Course
from fdbench.attacks.curve import readings_at
from fdbench.attacks.protocol import Attack, Reading, Subject
from fdbench.attacks.sweep import FIRST, Pool, attack_left, begin
from fdbench.errors import BadValue
from fdbench.randomness import ImageId
from fdbench.specs import AttackSpec, FastParameters

_CURVE = 2  # at most about this many verdicts' passes, whatever the number of radii


class Fast(Attack):
    """The fast verdict at one radius, or at several in one run."""

    name = "fast"
    parameters = FastParameters
    drops_broken = True

    def __init__(self) -> None:
        self._ids: tuple[ImageId, ...] = ()
        self._readings: dict[float, Reading] = {}  # of these images, by radius

    def together(self) -> "Fast":
        """Returns an instance that keeps the last batch's readings, for runs at other radii."""
        return Fast()

    def cost(self, spec: AttackSpec) -> int:
        """Returns the most gradients that an image can cost which is not near to breaking."""
        parameters = _parameters_of(spec)
        climb = passes_of(spec.norm, FIRST[spec.norm])
        sweep = parameters.classes * climb
        guard = sweep + parameters.queries // 2 if parameters.guard else 0
        once = (climb + sweep) * parameters.eot + guard
        return once * (_CURVE if parameters.radii else 1)

    def trial(self, spec: AttackSpec) -> AttackSpec:
        """Returns the gradient stages without the guard, towards three classes."""
        classes = min(3, _parameters_of(spec).classes)
        return spec.with_parameters(classes=classes, guard=False, radii=None)

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """Yields one reading, "fast", with what broke each image, and its passes.

        Raises BadValue if it is one of several radii, but the largest was not attacked first.
        """
        parameters = _parameters_of(spec)
        if parameters.radii:
            yield self._one_of(subject, spec, parameters.radii)
            return
        pool = begin(subject, parameters)
        attack_left(pool)
        notes = {"broken_by": pool.broken_by, "passes": pool.passes.tolist()}
        yield Reading(self.name, pool.adv, notes=notes, course=_course_of(pool))

    def _one_of(self, subject: Subject, spec: AttackSpec, radii: tuple[float, ...]) -> Reading:
        """The reading at the spec's radius; at the largest, all are made."""
        if spec.eps == max(radii):
            self._ids = subject.batch.ids
            self._readings = readings_at(subject, _parameters_of(spec), radii)
        elif subject.batch.ids != self._ids:
            raise BadValue("the largest of several radii is attacked first: its run has the rest.")
        return self._readings[spec.eps]


def _course_of(pool: Pool) -> Course:
    """What the stages saw of copies that mislead them; that each climb is short is their design."""
    course = Course.of(pool.passes, FIRST[pool.subject.threat.norm])
    course.disputed[:] = pool.disputed
    return course


def _parameters_of(spec: AttackSpec) -> FastParameters:
    if not isinstance(spec.parameters, FastParameters):
        raise TypeError(f"{spec.attack} is not the fast verdict")
    return spec.parameters
