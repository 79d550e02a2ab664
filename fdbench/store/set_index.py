"""Which shard holds which image of a set: the lines of its index-<rank>.jsonl. Free of torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fdbench.errors import FdbenchError
from fdbench.randomness import ImageId
from fdbench.store.journal import whole_lines
from fdbench.store.parsing import parsed
from fdbench.store.workspace import SetPaths

CLEAN = "clean"  # stands as an attacker for the images themselves, which pictures need


@dataclass(frozen=True)
class Line:
    """One attacker's images of one batch: where they are, and what making them took."""

    attacker: str
    ids: tuple[ImageId, ...]
    shard: str
    seconds: float = 0.0
    counts: Mapping[str, int] = field(default_factory=dict)  # clipped pixels, and the like
    unattacked: tuple[ImageId, ...] = ()  # the clean image stands in for what did not come
    warnings: tuple[str, ...] = ()
    targets: tuple[int, ...] = ()  # of a targeted set: the class wanted of each image


def read_lines(folder: Path) -> list[Line]:
    """Every rank's lines; torn tails are left out and left alone. Raises FdbenchError."""
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
