"""Sets of adversarial images: SetFolder stores one while it is made, AdvSet reads one.

A set is described by its set.json (store/set_json.py) and indexed by its index-<rank>.jsonl
(store/set_index.py); its images are stored in shards (store/images.py).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from fdbench.console import warn
from fdbench.data import Dataset
from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.files import entry
from fdbench.randomness import ImageId
from fdbench.specs import AttackSpec, TransferParameters
from fdbench.store.images import Shard, read_shard, write_shard
from fdbench.store.journal import Closing, Journal
from fdbench.store.resuming import changes, merged
from fdbench.store.set_index import CLEAN, Line, as_table, lines_of, read_lines
from fdbench.store.set_json import SetInfo, read_set_info, write_set_info
from fdbench.store.workspace import SetPaths, Workspace
from fdbench.types import Images, Labels


class SetFolder(Closing):
    """A set's folder, open for writing by one process.

    `done` holds the (attacker, image) pairs that are stored, by any process.
    """

    def __init__(
        self, path: Path, info: SetInfo, rank: int, journal: Journal, beyond: Sequence[Path]
    ) -> None:
        self.path = path
        self.paths = SetPaths(path)
        self.info = info
        self.rank = rank
        _set_aside(journal, info.digest)
        for index in beyond:
            with Journal(index) as left_behind:
                _set_aside(left_behind, info.digest)
        lines = read_lines(path, info.digest)
        self.done = {(line.attacker, image) for line in lines for image in line.ids}
        self._journal = journal

    @classmethod
    def open(
        cls,
        workspace: Workspace,
        info: SetInfo,
        name: str | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> "SetFolder":
        """Creates the set, or resumes it after dropping this rank's torn last line.

        Raises BadValue if another set has that name, FdbenchError if the folder can't be written or
        another process is writing this rank's index, or (on rank 0) that of a rank that `world`
        processes lack.
        """
        path = workspace.adversarial_set(name or info.name)
        paths = SetPaths(path)
        description = paths.description
        if description.is_file():
            _refuse_another(path.name, read_set_info(description), info)
        journal = Journal(paths.index(rank))
        try:
            journal.trim()
            folder = cls(path, info, rank, journal, () if rank else paths.indices_beyond(world))
            folder._write_description(description)
        except BaseException:
            journal.close()
            raise
        return folder

    def _write_description(self, description: Path) -> None:
        """Writes set.json, or updates the one of earlier sessions."""
        if description.is_file():
            old, new = read_set_info(description), self.info
            images = max(old.images, new.images)
            under_way = 0 < len(self.done) < images * len(old.attackers)
            changed = changes(old.environment, new.environment) if under_way else []
            warnings = merged(old.warnings, new.warnings, changed)
            self.info = replace(old, images=images, warnings=warnings)
            if self.rank or self.info == old:
                return
        write_set_info(description, self.info)

    def append(self, line: Line, pixels: UInt8[Tensor, "B 3 H W"]) -> None:
        """Stores one attacker's images of a batch; `line.shard` is filled in."""
        name = write_shard(self.paths.images, Shard(line.ids, {line.attacker: pixels}))
        self._journal.append([as_table(replace(line, shard=name), self.info.digest)])
        self.done |= {(line.attacker, image) for image in line.ids}

    def close(self) -> None:
        """Closes the index and releases its lock."""
        self._journal.close()


def _set_aside(journal: Journal, of_set: str) -> None:
    """Takes damaged lines out of an index, with a warning: their images are made again."""
    bad = lines_of(journal.path, of_set)[1]
    if bad:
        aside = journal.strike(tuple(bad))
        number, reason = next(iter(bad.items()))
        warn(
            f"{journal.path}, line {number}: {reason} ({len(bad)} such lines). Kept in "
            f"{aside.name}; their images are made again"
        )


def _refuse_another(name: str, old: SetInfo, new: SetInfo) -> None:
    if old.digest == new.digest:
        return
    was, now = old.identity, new.identity
    differing = ", ".join(key for key in was | now if was.get(key) != now.get(key))
    raise BadValue(
        f"there is another set {name!r}: its {differing} differ.\n"
        f"Give --make another name, or use the stored set: --use {name}"
    )


def _set_name(workspace: Workspace, ref: str) -> str:
    """The name of a set that is given by name, or by its folder as a command printed it.

    Raises BadValue, listing the sets of the workspace.
    """
    home, known_sets, path = workspace.sets, workspace.described_sets(), Path(ref)
    name = path.name if path.resolve().parent == home.resolve() else ref
    if name not in known_sets:
        hint = f"Sets are in {home}; make one: fdbench attack transfer --make NAME --surrogate M"
        raise unknown("set", ref, known_sets, hint)
    return name


@dataclass(frozen=True)
class AdvSet:
    """A set, complete or not, as of when it was opened.

    `open` reads its description and index; after that only `images` reads from the disk. One object
    can serve every batch of a run.
    """

    path: Path
    info: SetInfo
    lines: tuple[Line, ...]

    @classmethod
    def open(cls, workspace: Workspace, ref: str) -> "AdvSet":
        """The set of that name, or in that folder. Raises FdbenchError."""
        path = workspace.adversarial_set(_set_name(workspace, ref))
        info = read_set_info(SetPaths(path).description)
        known = {one.name for one in info.attackers} | {CLEAN}
        lines = read_lines(path, info.digest)
        if others := {line.attacker for line in lines} - known:
            warn(f"set {path.name} has images of attackers that it does not list: {sorted(others)}")
        return cls(path, info, tuple(line for line in lines if line.attacker in known))

    @property
    def paths(self) -> SetPaths:
        return SetPaths(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def attackers(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.info.attackers)

    @cached_property
    def shards(self) -> dict[tuple[str, ImageId], str]:
        """The shard that holds each (attacker, image); the first one stored, if there are two."""
        shard_of: dict[tuple[str, ImageId], str] = {}
        for line in self.lines:
            for image in line.ids:
                shard_of.setdefault((line.attacker, image), line.shard)
        return shard_of

    def _lines_of(self, attacker: str) -> list[Line]:
        return [line for line in self.lines if line.attacker == attacker]

    @cached_property
    def unattacked(self) -> dict[str, set[ImageId]]:
        """The images that each attacker failed to return; the clean image is stored instead."""
        return {
            a: {i for line in self._lines_of(a) for i in line.unattacked} for a in self.attackers
        }

    @cached_property
    def seconds(self) -> dict[str, float]:
        """The time each attacker took, summed over batches, sessions and processes."""
        return {a: sum((line.seconds for line in self._lines_of(a)), 0.0) for a in self.attackers}

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """Line.counts of each attacker, summed."""
        counters = {a: Counter[str]() for a in self.attackers}
        for line in self.lines:
            if line.attacker != CLEAN:
                counters[line.attacker].update(line.counts)
        return {a: dict(counter) for a, counter in counters.items()}

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of its description and of every batch, each once."""
        return merged(self.info.warnings, *(line.warnings for line in self.lines))

    @cached_property
    def spec(self) -> AttackSpec:
        """The transfer attack that replays this set."""
        info, targeted = self.info, self.info.targets is not None
        parameters = TransferParameters(set=self.name, digest=info.digest)
        return AttackSpec("transfer", info.norm, info.eps, targeted, parameters=parameters)

    @cached_property
    def _target_of(self) -> dict[ImageId, int]:
        aimed = [line for line in self.lines if line.targets]
        return {i: t for line in aimed for i, t in zip(line.ids, line.targets, strict=True)}

    def targets(self, ids: Sequence[ImageId]) -> Labels:
        """The target class of each image, in a targeted set. Raises as `check_complete` does."""
        self.check_complete(ids)
        return torch.tensor([self._target_of[image] for image in ids])

    def images(self, attacker: str, ids: Sequence[ImageId]) -> Images:
        """One attacker's images, in the order of `ids`.

        Raises FdbenchError if a shard is missing or modified.
        """
        ids_in: dict[str, list[ImageId]] = {}
        for image in ids:
            ids_in.setdefault(self.shards[attacker, image], []).append(image)
        pixels: dict[ImageId, Tensor] = {}
        for shard, some in ids_in.items():
            stored = read_shard(entry(self.paths.images, shard)).images(attacker, some)
            pixels.update(zip(some, stored, strict=True))
        return torch.stack([pixels[image] for image in ids])

    def check_complete(self, ids: Sequence[ImageId]) -> None:
        """Raises FdbenchError if any attacker's version of any of these images is missing."""
        for name in self.attackers:
            missing = sum((name, image) not in self.shards for image in ids)
            if missing:
                have = len(ids) - missing
                raise FdbenchError(
                    f"set {self.name} has {have} of these {len(ids)} images under {name}.\n"
                    f"Judge fewer (--limit), or make the rest: {self.info.command}"
                )

    def check_fit(self, data: Dataset, ids: Sequence[ImageId]) -> None:
        """Raises BadValue if it was made from other data, FdbenchError if an image is missing."""
        source, px = self.info.data, self.info.px
        if (source.split, source.fingerprint, px) != (data.split, data.fingerprint, data.px):
            raise BadValue(
                f"set {self.name} was made from {source.name} ({source.split}, {px} px, "
                f"{source.fingerprint[:8]}), not from {data.name} ({data.split}, {data.px} px, "
                f"{data.fingerprint[:8]}).\nGive its --data, --split and --px, or make another set."
            )
        self.check_complete(ids)
