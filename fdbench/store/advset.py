"""A set as it lies on the disk, to be judged."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from fdbench.data import Dataset
from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.randomness import ImageId
from fdbench.specs import AttackSpec, TransferParameters
from fdbench.store.images import read_shard
from fdbench.store.runs import merged
from fdbench.store.setinfo import CLEAN, Line, SetInfo, read_lines, read_set_info
from fdbench.types import Images, Labels


def set_name(results: Path, ref: str) -> str:
    """The set that is meant by its name, or by its folder as the command printed it.

    Raises BadValue naming the sets there are.
    """
    home = results / "sets"
    known = [path.parent.name for path in sorted(home.glob("*/set.json"))]
    path = Path(ref)
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
    def open(cls, results: Path, ref: str) -> "AdvSet":
        """The set of that name (or printed folder). Raises FdbenchError."""
        path = results / "sets" / set_name(results, ref)
        return cls(path, read_set_info(path / "set.json"), tuple(read_lines(path)))

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
        info, targeted = self.info, self.info.targets is not None
        own = TransferParameters(set=self.name, digest=info.digest)
        return AttackSpec("transfer", info.norm, info.eps, targeted, parameters=own)

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
            stored = read_shard(self.path / "adv" / shard).images(attacker, some)
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
