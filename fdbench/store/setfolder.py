"""A set's folder while it is made."""

from dataclasses import asdict, replace
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from fdbench.errors import BadValue
from fdbench.store.images import Shard, write_shard
from fdbench.store.journal import Closing, Journal
from fdbench.store.runs import changes, merged
from fdbench.store.setinfo import Line, SetInfo, read_lines, read_set_info, write_set_info


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
        cls, results: Path, info: SetInfo, name: str | None = None, rank: int = 0
    ) -> "SetFolder":
        """Creates the set, or goes on with it: drops this rank's torn last line.

        Raises BadValue where another set has that name, FdbenchError where the folder can't be
        written or another process writes this rank's lines.
        """
        path = results / "sets" / (name or info.name)
        kept = path / "set.json"
        if kept.is_file():
            _refuse_another(path.name, read_set_info(kept), info)
        journal = Journal(path / f"index-{rank}.jsonl")
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
        name = write_shard(self.path / "adv", Shard(line.ids, {line.attacker: pixels}))
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
