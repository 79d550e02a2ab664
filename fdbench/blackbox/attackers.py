"""Attackers ready to run: a battery's methods, competition submissions, images made elsewhere."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fdbench import submission
from fdbench.attacks import METHODS, Ensemble, complete, count_passes, craft
from fdbench.data import Dataset
from fdbench.errors import BadValue, FdbenchError
from fdbench.models import Model, accelerate
from fdbench.randomness import ImageId
from fdbench.specs import AttackerSpec
from fdbench.store import as_images
from fdbench.submission import Outcome, Submission
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels

Tick = Callable[[], None]


@dataclass(frozen=True)
class Made:
    """An attacker's images of a batch; `unattacked` are those it left unchanged."""

    adv: Images
    counts: Mapping[str, int] = field(default_factory=dict)
    unattacked: tuple[ImageId, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attacker:
    """An attacker ready to run: (batch, wanted classes or None, tick) -> images.

    `steps` is how often it ticks per batch.
    """

    spec: AttackerSpec
    run: Callable[[Batch, Labels | None, Tick], Made]
    steps: int = 1
    files: Mapping[str, str] = field(default_factory=dict)  # sha256 of the files it reads


@dataclass(frozen=True)
class Known:
    """The surrogates: networks that the attackers know, and the weights of their logits."""

    models: tuple[Model, ...]
    weights: tuple[float, ...]


def open_ensemble(
    known: Known, data: Dataset, device: torch.device
) -> tuple[Ensemble, tuple[str, ...]]:
    """Returns the surrogates as one, BN-folded where possible, and warnings where not.

    Raises BadValue if they have fewer classes than the data.
    """
    example = data.fetch(range(min(16, len(data)))).to(device)
    nets, warnings = [], []
    for model in known.models:
        net, why_not = accelerate(model.net.to(device), example.x)
        nets.append(net)
        warnings += [f"surrogate {model.name}: {why_not}"] if why_not else []
    ensemble = Ensemble(tuple(nets), known.weights)
    with torch.no_grad():
        classes = ensemble.fused(example.x).shape[1]
    if classes < data.classes:
        raise BadValue(
            f"the surrogates know {classes} classes, {data.name} has {data.classes}.\n"
            "Give --surrogate networks trained on this --data."
        )
    return ensemble, tuple(warnings)


def by_method(
    spec: AttackerSpec, ensemble: Ensemble, threat: Threat, seed: int, targeted: bool = False
) -> Attacker:
    """Returns a battery's attacker on these surrogates.

    The content of a file that a knob names is part of the attacker. Raises BadValue for an unknown
    method or knob, and if `targeted` but the method can't aim.
    """
    knobs = complete(spec.method, spec.knobs)
    if targeted and not METHODS[spec.method].targeted:
        able = ", ".join(name for name in METHODS if METHODS[name].targeted)
        raise BadValue(
            f"the attacker {spec.name} (method {spec.method}) can't aim at a class: leave out "
            f"--targeted,\nor give --attackers a battery of methods that can: {able}."
        )

    def run(batch: Batch, target: Labels | None, tick: Tick) -> Made:
        adv = craft(
            spec.method, ensemble, batch, threat, knobs, seed=seed, tick=tick, target=target
        )
        return Made(adv)

    method = METHODS[spec.method]
    paths = [Path(knobs[name]) for name in method.files]
    files = {str(path): file_hash(path) for path in paths}
    steps = count_passes(spec.method, knobs, len(ensemble.nets))
    recorded = AttackerSpec(spec.name, spec.method, method.recorded(knobs))
    return Attacker(recorded, run, steps, files)


def by_submission(folder: Path, eps: float, limit_s: float, targeted: bool = False) -> Attacker:
    """Returns a competition submission as an attacker; `limit_s` is for submission.BATCH images.

    Raises FdbenchError for a folder that can't be run, BadValue for a targeted attack in an
    untargeted set, or vice versa.
    """
    opened: Submission = submission.open_submission(folder, "attack")
    if opened.targeted != targeted:
        fix = "it needs --targeted" if opened.targeted else "leave out --targeted"
        raise BadValue(f"{folder} is of type {opened.kind!r} (metadata.json): {fix}.")
    eps_pixels, name = submission.eps_in_pixels(eps), folder.resolve().name

    def run(batch: Batch, target: Labels | None, tick: Tick) -> Made:
        share = max(1.0, len(batch.ids) / submission.BATCH)
        limit = share * limit_s
        outcome = submission.run_attack(opened, batch, eps_pixels, limit_s=limit, targets=target)
        tick()
        return _made(outcome, name)

    spec = AttackerSpec(name, "submission", {"seconds": limit_s})
    return Attacker(spec, run, files={name: submission.fingerprint(folder)})


def by_folder(folder: Path, eps: float, ids: Sequence[ImageId]) -> Attacker:
    """Returns images made elsewhere, stored as folder/ID.png, as an attacker.

    Raises FdbenchError if the folder is missing or holds none of these images.
    """
    eps_pixels, name = submission.eps_in_pixels(eps), folder.resolve().name
    if not folder.is_dir():
        raise FdbenchError(f"there is no folder {folder}.")
    if not any((folder / f"{image}.png").is_file() for image in ids):
        raise FdbenchError(
            f"{folder} holds none of the {len(ids)} images: they are matched by name, "
            f"{ids[0]}.png and so on."
        )

    def run(batch: Batch, target: Labels | None, tick: Tick) -> Made:
        outcome = submission.read_folder(folder, batch, eps_pixels)
        tick()
        return _made(outcome, name)

    files = {name: submission.fingerprint(folder)}
    return Attacker(AttackerSpec(name, "folder"), run, files=files)


def _made(outcome: Outcome, name: str) -> Made:
    messages = outcome.run.messages() if outcome.run else []
    warnings = tuple(f"{name}: {text}" for text in messages)
    return Made(as_images(outcome.adv), outcome.counts, outcome.unattacked, warnings)


def file_hash(path: Path) -> str:
    """Returns the sha256 of a file. Raises FdbenchError if it can't be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as reason:
        raise FdbenchError(
            f"{path} can't be read: {reason.strerror}.\n"
            "To train a generator: fdbench train-attacker --surrogate MODEL"
        ) from reason
