"""The images and targets of a set, and the loop that makes it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from fdbench import verdict
from fdbench.attacks import draw_targets, given
from fdbench.blackbox.attackers import Attacker, Known
from fdbench.console import progress, warn
from fdbench.data import Dataset, caad_targets
from fdbench.errors import BadValue
from fdbench.machine import BatchLimit, environment, rank_and_world, tidy
from fdbench.randomness import ImageId
from fdbench.specs import digest
from fdbench.store import (
    CLEAN,
    DataInfo,
    Line,
    SetFolder,
    SetInfo,
    Surrogate,
    Workspace,
    as_images,
    clearing_set,
    whole_pixels,
)
from fdbench.threat import Threat
from fdbench.types import Batch, Labels
from fdbench.units import pixels


@dataclass(frozen=True)
class Aim:
    """The targets of a targeted set: `wanted`, or drawn with the set's seed."""

    wanted: Mapping[ImageId, int] | None = None

    @property
    def name(self) -> str:
        """Its text in a set's identity: "random", or the digest of the given targets."""
        if self.wanted is None:
            return "random"
        return f"given {digest(sorted(map(list, self.wanted.items()), key=str))}"

    def at(self, batch: Batch, classes: int, seed: int) -> Labels:
        """Returns each image's target, drawn as PGD's are. Raises BadValue as `given` does."""
        if self.wanted is None:
            return draw_targets(batch, classes, seed)
        return given(self.wanted, batch.ids, batch.label, classes)


def known_targets(data: Dataset) -> dict[ImageId, int] | None:
    """Returns the targets that come with the data; None if the data set has none.

    Raises FdbenchError if a CAAD folder lacks them.
    """
    kind, _, folder = data.name.partition(":")
    if kind != "caad":
        return None
    return dict(caad_targets(Path(folder).expanduser()).items())


@dataclass(frozen=True)
class SetPlan:
    """A set to be made of the first `limit` images of a data set."""

    title: str
    attackers: tuple[Attacker, ...]
    data: Dataset
    threat: Threat
    workspace: Workspace
    device: torch.device
    seed: int = 0
    limit: int | None = None
    batch_size: int = 250
    name: str | None = None  # of the set's folder; None: a readable one with the identity's hash
    known: Known | None = None
    warnings: tuple[str, ...] = ()
    aim: Aim | None = None  # None: untargeted

    @property
    def positions(self) -> list[int]:
        """The images to attack: always the first ones."""
        return list(self.data.first(self.limit))


def set_info(plan: SetPlan) -> SetInfo:
    """Returns the content of set.json: all that can change a pixel, and the environment."""
    known, data = plan.known, plan.data
    pairs = zip(known.models, known.weights, strict=True) if known else []
    files: dict[str, str] = {}
    for attacker in plan.attackers:
        files |= attacker.files
    return SetInfo(
        title=plan.title,
        attackers=tuple(attacker.spec for attacker in plan.attackers),
        surrogates=tuple(
            Surrogate(model.name, model.ref, model.weights, weight) for model, weight in pairs
        ),
        data=DataInfo(
            data.name, data.split, data.fingerprint, data.classes, len(data), data.sample
        ),
        px=data.px,
        norm=plan.threat.norm,
        eps=plan.threat.eps,
        seed=plan.seed,
        images=len(plan.positions),
        environment=environment(plan.device),
        targets=plan.aim.name if plan.aim else None,
        files=files,
        warnings=plan.warnings,
    )


def _check(plan: SetPlan) -> None:
    names = [attacker.spec.name for attacker in plan.attackers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadValue(f"two attackers are called {', '.join(twice)}.")
    if CLEAN in names:
        raise BadValue(f"no attacker can be called {CLEAN!r}: the set's clean images are.")
    if plan.threat.norm != "linf" or plan.threat.eps < 1 / 255:
        raise BadValue(
            f"sets hold whole pixels: use linf and an eps of 1/255 or more, not {plan.threat.norm} "
            f"{pixels(plan.threat.eps)}."
        )
    if plan.aim and plan.aim.wanted is not None:
        data, count = plan.data, len(plan.positions)
        given(plan.aim.wanted, data.ids[:count], data.labels[:count], data.classes)


def make_set(plan: SetPlan, say: Callable[[str], None]) -> Path:
    """Makes the missing images of the set and returns its folder.

    Images of finished batches are on disk before the next batch starts; the same plan resumes where
    it stopped, and a larger limit extends the set. Raises IllegalAdversary if an attacker leaves
    the ball, BadValue if another set has that name or an image has no target.
    """
    _check(plan)
    rank, world = rank_and_world()
    opened = SetFolder.open(plan.workspace, set_info(plan), plan.name, rank, world)
    with opened as folder, clearing_set(folder.paths):
        mine, ids = plan.positions[rank::world], plan.data.ids
        names = [attacker.spec.name for attacker in plan.attackers]
        left = {p: sum((name, ids[p]) not in folder.done for name in names) for p in mine}
        todo, total = [p for p in mine if left[p]], len(mine) * len(names)
        say(f"set {folder.path.name}: {sum(left.values())} of {total} images to make")
        with progress(folder.path.name, total, "images", total - sum(left.values())) as advance:
            session = _Session(plan, folder, advance)
            for batch in plan.data.batches(todo, plan.batch_size):
                session.make(batch)
                tidy()
        return folder.path


@dataclass
class _Session:
    """The state shared by all batches of a session."""

    plan: SetPlan
    folder: SetFolder
    advance: Callable[[float], None]
    limits: dict[str, BatchLimit] = field(default_factory=dict)  # by attacker
    unsaved: dict[str, list[str]] = field(default_factory=dict)  # by attacker: new warnings

    def make(self, batch: Batch) -> None:
        """Makes the images of the batch that the set lacks."""
        clean = self._undone(CLEAN, batch)
        if clean.ids:
            whole = (255 * clean.x).round().to(torch.uint8)
            self.folder.append(Line(CLEAN, clean.ids, shard=""), whole)
        for attacker in self.plan.attackers:
            part = self._undone(attacker.spec.name, batch)
            if part.ids:
                self._limit(attacker.spec.name).run(part, partial(self._attack, attacker))

    def _limit(self, name: str) -> BatchLimit:
        note = partial(self._note_halving, name)
        return self.limits.setdefault(name, BatchLimit(self.plan.device, note))

    def _undone(self, name: str, batch: Batch) -> Batch:
        """Returns the images of the batch that the set lacks from that attacker."""
        index = [i for i, image in enumerate(batch.ids) if (name, image) not in self.folder.done]
        return Batch(batch.x[index], batch.label[index], tuple(batch.ids[i] for i in index))

    def _note_halving(self, name: str, size: int, half: int) -> None:
        """Records a warning in the set; the random numbers stay the same."""
        text = f"{name}: out of memory at {size} images a batch: went on with {half}"
        warn(text)
        self.unsaved.setdefault(name, []).append(text)

    def _attack(self, attacker: Attacker, cpu: Batch) -> None:
        """Makes, verifies and stores one attacker's images."""
        batch = cpu.to(self.plan.device)
        plan, name, began = self.plan, attacker.spec.name, time.monotonic()
        target = plan.aim.at(batch, plan.data.classes, plan.seed) if plan.aim else None
        done = 0.0

        def tick() -> None:
            nonlocal done
            done += len(batch.ids) / attacker.steps
            self.advance(len(batch.ids) / attacker.steps)

        try:
            made = attacker.run(batch, target, tick)
            adv = made.adv.to(batch.x.device)
            verdict.check(adv, batch.x, plan.threat)
            stored = whole_pixels(adv, batch.x, plan.threat.eps)
            verdict.check(as_images(stored), batch.x, plan.threat)
        except BaseException:
            self.advance(-done)
            raise
        line = Line(
            name,
            batch.ids,
            shard="",
            seconds=round(time.monotonic() - began, 3),
            counts=made.counts,
            unattacked=made.unattacked,
            warnings=(*self.unsaved.pop(name, ()), *made.warnings),
            targets=() if target is None else tuple(target.tolist()),
        )
        self.folder.append(line, stored.cpu())
