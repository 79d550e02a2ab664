"""Attacks that make the readings of several radii in one pass over a batch."""

from abc import abstractmethod
from collections.abc import Mapping

from fdbench.attacks.protocol import Attack, Reading, Subject
from fdbench.errors import BadValue
from fdbench.randomness import ImageId
from fdbench.specs import AttackSpec


class SeveralRadii(Attack):
    """Attacks a batch at the largest of its radii, and keeps the readings at the others."""

    def __init__(self) -> None:
        self._ids: tuple[ImageId, ...] = ()
        self._readings: Mapping[float, Reading] = {}  # of these images, by radius

    def together(self) -> "SeveralRadii":
        """Returns an instance that keeps the last batch's readings, for runs at other radii."""
        return type(self)()

    @abstractmethod
    def readings(
        self, subject: Subject, spec: AttackSpec, radii: tuple[float, ...]
    ) -> Mapping[float, Reading]:
        """Attacks a batch at radii in ascending order; the judge accepts the largest."""

    def one_of(self, subject: Subject, spec: AttackSpec, radii: tuple[float, ...]) -> Reading:
        """Returns the reading at the spec's radius; at the largest, all are made.

        Raises BadValue if the largest was not attacked first.
        """
        if spec.eps == max(radii):
            self._ids = subject.batch.ids
            self._readings = self.readings(subject, spec, radii)
        elif subject.batch.ids != self._ids:
            raise BadValue("the largest of several radii is attacked first: its run has the rest.")
        return self._readings[spec.eps]
