"""The transfer attack as a victim meets it: images that were made without it (fdbench/sets/)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fdbench.attacks.protocol import Reading, Setting, Subject
from fdbench.data import Dataset
from fdbench.errors import BadValue, FdbenchError
from fdbench.randomness import ImageId
from fdbench.specs import AttackSpec
from fdbench.store import AdvSet, Workspace
from fdbench.types import Labels
from fdbench.units import print_size


def _threat(spec: AttackSpec) -> str:
    kind = "targeted" if spec.targeted else "untargeted"
    return f"{kind}, in {spec.norm}, with eps {print_size(spec.eps, spec.norm)}"


def open_stored(results: Path, spec: AttackSpec) -> AdvSet:
    """The set that `spec` names. Raises FdbenchError if it is not there, or not that one any more,
    BadValue for a threat model that is not the set's.
    """
    found = AdvSet.open(Workspace(results), spec.options["set"])
    if found.info.digest != spec.options["digest"]:
        raise FdbenchError(
            f"set {found.name} is not the one that was asked for: it was made anew, otherwise.\n"
            f"Judge what it holds now: fdbench attack transfer --use {found.name}"
        )
    made = found.spec
    if (made.norm, made.eps, made.targeted) != (spec.norm, spec.eps, spec.targeted):
        raise BadValue(
            f"set {found.name} was made {_threat(made)}; it can't stand for {_threat(spec)}."
        )
    return found


def targets(results: Path, spec: AttackSpec, ids: Sequence[ImageId]) -> Labels:
    """The classes that a targeted set's images were made towards.

    Raises FdbenchError for images that it has not.
    """
    return open_stored(results, spec).targets(ids)


def describe(results: Path, spec: AttackSpec) -> dict[str, Any]:
    """What besides the spec decides the images (RunInfo.further): the set, and who made it."""
    found = open_stored(results, spec)
    return {
        "set": found.info.digest,
        "attackers": list(found.attackers),
        "surrogates": [{"name": s.name, "weights": s.weights} for s in found.info.surrogates],
    }


def check(results: Path, spec: AttackSpec, data: Dataset, ids: Sequence[ImageId]) -> None:
    """Nothing, if the set holds these images of these data under all its attackers.

    Raises BadValue or FdbenchError saying what it holds.
    """
    open_stored(results, spec).check_fit(data, ids)


def warnings_for(spec: AttackSpec, setting: Setting) -> list[str]:
    """What a reader must know of this set on a network with such weights."""
    found = open_stored(setting.results, spec)
    known = [one.name for one in found.info.surrogates if one.weights == setting.weights]
    warnings = list(found.warnings)
    if known:
        warnings.insert(0, f"the attackers know this network, {', '.join(known)}: white-box")
    for name, images in found.unattacked.items():
        if images:
            warnings.append(f"{name} left {len(images)} images unattacked: missing or no such PNG")
    return warnings


def count_steps(spec: AttackSpec) -> int:
    """How often `run_stored` ticks for a batch: once, in shares."""
    return 1


def run_stored(subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
    """A reading for each attacker of the set; asks no network.

    Rows note under `unattacked` which attackers left an image as it was. Raises FdbenchError if an
    image is missing or was touched.
    """
    found, ids = open_stored(subject.results, spec), subject.batch.ids
    found.check_complete(ids)
    names = found.attackers
    idle = [[name for name in names if image in found.unattacked[name]] for image in ids]
    notes = {"unattacked": idle} if any(found.unattacked.values()) else {}
    for name in names:
        adv = found.images(name, ids).to(subject.batch.x.device)
        yield Reading(name, adv, notes=notes)
        subject.tick(1 / len(names))
