"""Which images a set is made of, towards what, and the loop that makes them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from fdbench import verdict
from fdbench.attacks import draw_targets, given
from fdbench.blackbox.attackers import Attacker, Known
from fdbench.console import progress
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
    whole_pixels,
)
from fdbench.threat import Threat
from fdbench.types import Batch, Labels
from fdbench.units import pixels


@dataclass(frozen=True)
class Aim:
    """The classes that a targeted set is made towards: `wanted`, or drawn with the set's seed."""

    wanted: Mapping[ImageId, int] | None = None

    @property
    def name(self) -> str:
        """What a set's identity says of it: "random", or the digest of the wanted ones."""
        if self.wanted is None:
            return "random"
        return f"given {digest(sorted(map(list, self.wanted.items()), key=str))}"

    def at(self, batch: Batch, classes: int, seed: int) -> Labels:
        """The class wanted of each image: drawn as PGD's are. Raises BadValue as `given`."""
        if self.wanted is None:
            return draw_targets(batch, classes, seed)
        return given(self.wanted, batch.ids, batch.label, classes)


def known_targets(data: Dataset) -> dict[ImageId, int] | None:
    """The classes that the data themselves want of their images; None where they say nothing.

    Raises FdbenchError where they should and don't.
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
    name: str | None = None  # of the set's folder; None: readable, and a hash of the identity
    known: Known | None = None
    warnings: tuple[str, ...] = ()
    aim: Aim | None = None  # None: untargeted

    @property
    def positions(self) -> list[int]:
        """The images to attack: always the same first ones."""
        return list(self.data.first(self.limit))


def set_info(plan: SetPlan) -> SetInfo:
    """What set.json says: all that can change a pixel, and what it was made with."""
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
        data=DataInfo(data.name, data.split, data.fingerprint, data.classes, len(data)),
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
        raise BadValue(f"no attacker can be called {CLEAN!r}: the set calls the images so.")
    if plan.threat.norm != "linf" or plan.threat.eps < 1 / 255:
        raise BadValue(
            f"sets hold whole pixels: linf and an eps of 1/255 or more, not {plan.threat.norm} "
            f"{pixels(plan.threat.eps)}."
        )
    if plan.aim and plan.aim.wanted is not None:
        data, count = plan.data, len(plan.positions)
        given(plan.aim.wanted, data.ids[:count], data.labels[:count], data.classes)


def make_set(plan: SetPlan, say: Callable[[str], None]) -> Path:
    """Makes what is not yet made of the set and returns its folder.

    Images of finished batches are on disk before the next batch starts; the same plan goes on where
    it stopped, and one with a larger limit continues a smaller one. Raises IllegalAdversary if an
    attacker leaves the ball, BadValue if another set has that name or an image has no target.
    """
    _check(plan)
    rank, world = rank_and_world()
    with SetFolder.open(plan.workspace, set_info(plan), plan.name, rank) as folder:
        mine, ids = plan.positions[rank::world], plan.data.ids
        names = [attacker.spec.name for attacker in plan.attackers]
        left = {p: sum((name, ids[p]) not in folder.done for name in names) for p in mine}
        todo, total = [p for p in mine if left[p]], len(mine) * len(names)
        say(f"set {folder.path.name}: {sum(left.values())} of {total} images to make")
        with progress(folder.path.name, total, "images", total - sum(left.values())) as advance:
            session = _Session(plan, folder, advance, say)
            for batch in plan.data.batches(todo, plan.batch_size):
                session.make(batch)
                tidy()
        return folder.path


@dataclass
class _Session:
    """What all batches of a session share."""

    plan: SetPlan
    folder: SetFolder
    advance: Callable[[float], None]
    say: Callable[[str], None]
    limits: dict[str, BatchLimit] = field(default_factory=dict)  # by attacker
    news: dict[str, list[str]] = field(default_factory=dict)  # by attacker: not yet in a line

    def make(self, batch: Batch) -> None:
        """All that the set lacks of these images."""
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
        """The images of the batch that the set has not under that attacker."""
        index = [i for i, image in enumerate(batch.ids) if (name, image) not in self.folder.done]
        return Batch(batch.x[index], batch.label[index], tuple(batch.ids[i] for i in index))

    def _note_halving(self, name: str, size: int, half: int) -> None:
        """The set keeps a warning of it; the numbers drawn are the same."""
        text = f"{name}: out of memory at {size} images a batch: went on with {half}"
        self.say(f"warning: {text}")
        self.news.setdefault(name, []).append(text)

    def _attack(self, attacker: Attacker, cpu: Batch) -> None:
        """One attacker's images, verified, on the disk."""
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
            warnings=(*self.news.pop(name, ()), *made.warnings),
            targets=() if target is None else tuple(target.tolist()),
        )
        self.folder.append(line, stored.cpu())
