"""The transfer attack: judges a victim on adversarial images made without it."""

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
    """Judges a stored set: one reading per attacker; queries no network."""

    stored: AdvSet

    name = "transfer"
    parameters = TransferParameters

    def check(self, spec: AttackSpec) -> None:
        """Raises FdbenchError if `spec` refers to another set, BadValue if its threat differs."""
        wanted, made, digest = spec.parameters, self.stored.spec, self.stored.info.digest
        if not isinstance(wanted, TransferParameters) or wanted.digest != digest:
            raise FdbenchError(
                f"set {self.stored.name} was remade with other settings since this run.\n"
                f"To judge its current images: fdbench attack transfer --use {self.stored.name}"
            )
        if (made.norm, made.eps, made.targeted) != (spec.norm, spec.eps, spec.targeted):
            raise BadValue(
                f"set {self.stored.name} was made {_threat(made)}; it can't be judged as "
                f"{_threat(spec)}."
            )

    def cost(self, spec: AttackSpec) -> int:
        """Returns 1: `run` ticks in shares."""
        return 1

    @property
    def sources(self) -> Mapping[str, Any]:
        """The set's digest, its attackers and their surrogates."""
        info = self.stored.info
        return {
            "set": info.digest,
            "attackers": list(self.stored.attackers),
            "surrogates": [{"name": s.name, "weights": s.weights} for s in info.surrogates],
        }

    def targets(self, ids: Sequence[ImageId]) -> Labels | None:
        """Returns the targets of a targeted set's images, None for an untargeted set.

        Raises FdbenchError for images missing from the set.
        """
        return self.stored.targets(ids) if self.stored.spec.targeted else None

    def warnings(self, spec: AttackSpec, weights: str, classes: int) -> list[str]:
        """Warns of attackers that know this network and of images they left unattacked."""
        stored = self.stored
        known = [one.name for one in stored.info.surrogates if one.weights == weights]
        warnings = list(stored.warnings)
        if known:
            warnings.insert(0, f"the attackers know this network, {', '.join(known)}: white-box")
        for name, images in stored.unattacked.items():
            if images:
                warnings.append(
                    f"{name} left {len(images)} images unattacked: missing or invalid PNG"
                )
        return warnings

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """Yields a reading for each attacker of the set.

        Under `unattacked` rows list the attackers that left the image unchanged. Raises
        FdbenchError if an image is missing or was changed.
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
