"""The transfer attack as a victim meets it: adversarial images that were made without it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fdbench.attacks.protocol import Attack, Reading, Subject
from fdbench.errors import BadValue, FdbenchError
from fdbench.randomness import ImageId
from fdbench.specs import AttackSpec, TransferParameters
from fdbench.store import AdvSet
from fdbench.types import Labels
from fdbench.units import print_size


def _threat(spec: AttackSpec) -> str:
    kind = "targeted" if spec.targeted else "untargeted"
    return f"{kind}, in {spec.norm}, with eps {print_size(spec.eps, spec.norm)}"


@dataclass(frozen=True)
class Replay(Attack):
    """Judges a stored set: one reading an attacker; asks no network."""

    stored: AdvSet

    name = "transfer"
    parameters = TransferParameters

    def check(self, spec: AttackSpec) -> None:
        """Raises FdbenchError if `spec` names other images, BadValue if it has another threat."""
        own, made = spec.parameters, self.stored.spec
        if not isinstance(own, TransferParameters) or own.digest != self.stored.info.digest:
            raise FdbenchError(
                f"set {self.stored.name} is not the one that was asked for: it was made anew, "
                "otherwise.\n"
                f"Judge what it holds now: fdbench attack transfer --use {self.stored.name}"
            )
        if (made.norm, made.eps, made.targeted) != (spec.norm, spec.eps, spec.targeted):
            raise BadValue(
                f"set {self.stored.name} was made {_threat(made)}; it can't stand for "
                f"{_threat(spec)}."
            )

    def cost(self, spec: AttackSpec) -> int:
        """One: it ticks in shares."""
        return 1

    @property
    def sources(self) -> Mapping[str, Any]:
        """The set's digest, its attackers, and the surrogates they knew."""
        info = self.stored.info
        return {
            "set": info.digest,
            "attackers": list(self.stored.attackers),
            "surrogates": [{"name": s.name, "weights": s.weights} for s in info.surrogates],
        }

    def targets(self, ids: Sequence[ImageId]) -> Labels | None:
        """The classes that a targeted set's images were made towards.

        Raises FdbenchError for images that the set lacks.
        """
        return self.stored.targets(ids) if self.stored.spec.targeted else None

    def warnings(self, spec: AttackSpec, weights: str, classes: int) -> list[str]:
        """Whether the attackers knew this network, and which images they left alone."""
        stored = self.stored
        known = [one.name for one in stored.info.surrogates if one.weights == weights]
        warnings = list(stored.warnings)
        if known:
            warnings.insert(0, f"the attackers know this network, {', '.join(known)}: white-box")
        for name, images in stored.unattacked.items():
            if images:
                warnings.append(
                    f"{name} left {len(images)} images unattacked: missing or no such PNG"
                )
        return warnings

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """A reading for each attacker of the set.

        Rows note under `unattacked` which attackers left an image as it was. Raises FdbenchError if
        an image is missing or was changed.
        """
        stored, ids = self.stored, subject.batch.ids
        stored.check_complete(ids)
        names = stored.attackers
        idle = [[name for name in names if image in stored.unattacked[name]] for image in ids]
        notes = {"unattacked": idle} if any(stored.unattacked.values()) else {}
        for name in names:
            adv = stored.images(name, ids).to(subject.batch.x.device)
            yield Reading(name, adv, notes=notes)
            subject.tick(1 / len(names))
