"""The index of a set: which shard holds which attacker's images. Free of torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fdbench.errors import FdbenchError
from fdbench.randomness import ImageId
from fdbench.specs import parsed
from fdbench.store.journal import whole_lines
from fdbench.store.workspace import SetPaths

CLEAN = "clean"  # in place of an attacker's name: the clean images, for the gallery


@dataclass(frozen=True)
class Line:
    """A line of index-<rank>.jsonl: where one attacker's images of one batch are stored."""

    attacker: str
    ids: tuple[ImageId, ...]
    shard: str
    seconds: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)  # clipped pixels and the like
    unattacked: tuple[ImageId, ...] = ()  # the clean image is stored instead
    warnings: tuple[str, ...] = ()
    targets: tuple[int, ...] = ()  # of a targeted set: the target class of each image


def read_lines(folder: Path) -> list[Line]:
    """The lines of all ranks, without torn last ones. Raises FdbenchError for a malformed one."""
    lines = []
    for path in SetPaths(folder).all_indices():
        for number, text in enumerate(whole_lines(path).splitlines(), 1):
            where = f"{path}, line {number}"
            try:
                table = json.loads(text)
            except ValueError as reason:
                raise FdbenchError(f"{where} is not JSON: {reason}") from reason
            lines.append(parsed(Line, table, where))
    return lines
