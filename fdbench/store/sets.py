"""Sets of adversarial images: a folder while it is made, and a set to be judged.

results/sets/<name>/set.json              SetInfo: what its images are
results/sets/<name>/index-<rank>.jsonl    one line a batch and attacker, one file a process
results/sets/<name>/adv/                  the images, in shards (store/images.py)
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from fdbench.data import Dataset
from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.randomness import ImageId
from fdbench.specs import AttackSpec
from fdbench.store.images import Shard, read_shard, write_shard
from fdbench.store.journal import Closing, Journal
from fdbench.store.resuming import changes, merged
from fdbench.store.set_index import CLEAN, Line, read_lines
from fdbench.store.set_json import SetInfo, read_set_info, write_set_info
from fdbench.store.workspace import SetPaths, Workspace
from fdbench.types import Images, Labels


class SetFolder(Closing):
    """A set's folder, open for one process: what is `done`, and lines to append."""

    def __init__(self, path: Path, info: SetInfo, rank: int, journal: Journal) -> None:
        self.path = path
        self.info = info
        self.rank = rank
        self.done = {(line.attacker, image) for line in read_lines(path) for image in line.ids}
        self._journal = journal

    @classmethod
    def open(
        cls, workspace: Workspace, info: SetInfo, name: str | None = None, rank: int = 0
    ) -> "SetFolder":
        """Creates the set, or goes on with it: drops this rank's torn last line.

        Raises BadValue where another set has that name, FdbenchError where the folder can't be
        written or another process writes this rank's lines.
        """
        path = workspace.adversarial_set(name or info.name)
        kept = SetPaths(path).description
        if kept.is_file():
            _refuse_another(path.name, read_set_info(kept), info)
        journal = Journal(SetPaths(path).index(rank))
        try:
            journal.trim()
            folder = cls(path, info, rank, journal)
            folder._describe(kept)
        except BaseException:
            journal.close()
            raise
        return folder

    def _describe(self, kept: Path) -> None:
        """Writes set.json, or brings it up to date."""
        if kept.is_file():
            old, new = read_set_info(kept), self.info
            images = max(old.images, new.images)
            under_way = 0 < len(self.done) < images * len(old.attackers)
            moved = changes(old.environment, new.environment) if under_way else []
            warnings = merged(old.warnings, new.warnings, moved)
            self.info = replace(old, images=images, warnings=warnings)
            if self.rank or self.info == old:
                return
        write_set_info(kept, self.info)

    def append(self, line: Line, pixels: UInt8[Tensor, "B 3 H W"]) -> None:
        """Puts one attacker's images of a batch on the disk; `line.shard` is filled in."""
        name = write_shard(SetPaths(self.path).images, Shard(line.ids, {line.attacker: pixels}))
        self._journal.append([asdict(replace(line, shard=name))])
        self.done |= {(line.attacker, image) for image in line.ids}

    def close(self) -> None:
        """Lets go of the file."""
        self._journal.close()


def _refuse_another(name: str, old: SetInfo, new: SetInfo) -> None:
    if old.digest == new.digest:
        return
    was, now = old.identity, new.identity
    differing = ", ".join(key for key in was | now if was.get(key) != now.get(key))
    raise BadValue(
        f"there is another set {name!r}: its {differing} differ.\n"
        f"Give --make another name, or judge what it holds: --use {name}"
    )


def set_name(workspace: Workspace, ref: str) -> str:
    """The set that is meant by its name, or by its folder as the command printed it.

    Raises BadValue naming the sets there are.
    """
    home, known, path = workspace.sets, workspace.described_sets(), Path(ref)
    name = path.name if path.resolve().parent == home.resolve() else ref
    if name not in known:
        hint = f"Sets lie in {home}; make one: fdbench attack transfer --make NAME --surrogate M"
        raise unknown("set", ref, known, hint)
    return name


@dataclass(frozen=True)
class AdvSet:
    """A set as it lies on the disk: finished, or under way."""

    path: Path
    info: SetInfo
    lines: tuple[Line, ...]

    @classmethod
    def open(cls, workspace: Workspace, ref: str) -> "AdvSet":
        """The set of that name (or printed folder). Raises FdbenchError."""
        path = workspace.adversarial_set(set_name(workspace, ref))
        return cls(path, read_set_info(SetPaths(path).description), tuple(read_lines(path)))

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def attackers(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.info.attackers)

    @cached_property
    def shards(self) -> dict[tuple[str, ImageId], str]:
        """Which shard holds which attacker's image; the first line that names it counts."""
        found: dict[tuple[str, ImageId], str] = {}
        for line in self.lines:
            for image in line.ids:
                found.setdefault((line.attacker, image), line.shard)
        return found

    def _of(self, attacker: str) -> list[Line]:
        return [line for line in self.lines if line.attacker == attacker]

    @cached_property
    def unattacked(self) -> dict[str, set[ImageId]]:
        """By attacker, the images that came out as they went in: theirs was missing or no image."""
        return {a: {i for line in self._of(a) for i in line.unattacked} for a in self.attackers}

    @property
    def seconds(self) -> dict[str, float]:
        """What each attacker took, summed over batches, sessions and processes."""
        return {a: sum(line.seconds for line in self._of(a)) for a in self.attackers}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """By attacker, what was counted while its images were made."""
        counters = {a: Counter[str]() for a in self.attackers}
        for line in self.lines:
            if line.attacker != CLEAN:
                counters[line.attacker].update(line.counts)
        return {a: dict(counter) for a, counter in counters.items()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its readers must know of it."""
        return merged(self.info.warnings, *(line.warnings for line in self.lines))

    @property
    def spec(self) -> AttackSpec:
        """The attack that this set is, on whatever network."""
        options = {"set": self.name, "digest": self.info.digest}
        info, targeted = self.info, self.info.targets is not None
        return AttackSpec("transfer", info.norm, info.eps, targeted, iters=(), options=options)

    @cached_property
    def _target(self) -> dict[ImageId, int]:
        aimed = [line for line in self.lines if line.targets]
        return {i: t for line in aimed for i, t in zip(line.ids, line.targets, strict=True)}

    def targets(self, ids: Sequence[ImageId]) -> Labels:
        """The classes that a targeted set wants of these images. Raises as `check_complete`."""
        self.check_complete(ids)
        return torch.tensor([self._target[image] for image in ids])

    def images(self, attacker: str, ids: Sequence[ImageId]) -> Images:
        """One attacker's images, in this order. Raises FdbenchError if one was touched."""
        groups: dict[str, list[ImageId]] = {}
        for image in ids:
            groups.setdefault(self.shards[attacker, image], []).append(image)
        found: dict[ImageId, Tensor] = {}
        for shard, some in groups.items():
            stored = read_shard(SetPaths(self.path).images / shard).images(attacker, some)
            found.update(zip(some, stored, strict=True))
        return torch.stack([found[image] for image in ids])

    def check_complete(self, ids: Sequence[ImageId]) -> None:
        """Raises FdbenchError if an attacker's image of one of these is not there."""
        for name in self.attackers:
            missing = sum((name, image) not in self.shards for image in ids)
            if missing:
                have = len(ids) - missing
                raise FdbenchError(
                    f"set {self.name} has {have} of these {len(ids)} images under {name}.\n"
                    f"Judge fewer (--limit), or make the rest: {self.info.command}"
                )

    def check_fit(self, data: Dataset, ids: Sequence[ImageId]) -> None:
        """Raises BadValue if the set was made from other images, FdbenchError if any is missing."""
        ours, px = self.info.data, self.info.px
        if (ours.split, ours.fingerprint, px) != (data.split, data.fingerprint, data.px):
            raise BadValue(
                f"set {self.name} was made from {ours.name} ({ours.split}, {px} px, "
                f"{ours.fingerprint[:8]}), not from {data.name} ({data.split}, {data.px} px, "
                f"{data.fingerprint[:8]}).\nGive its --data, --split and --px, or make another set."
            )
        self.check_complete(ids)
