"""The index of a set: which shard holds which attacker's images. Free of torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fdbench.console import warn
from fdbench.errors import FdbenchError
from fdbench.files import parse_json
from fdbench.randomness import ImageId
from fdbench.specs import digest, parsed
from fdbench.store.journal import numbered_lines
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


def as_table(line: Line, of_set: str) -> dict[str, object]:
    """The line as it is written, with its check: a digest of the line and of the set's identity."""
    table = asdict(line)
    return {**table, "check": _check(table, of_set)}


def _check(table: Mapping[str, object], of_set: str) -> str:
    return digest({**table, "check": of_set})


def lines_of(path: Path, of_set: str) -> tuple[list[Line], dict[int, str]]:
    """The lines of one index, and what is wrong with each other one, by its number.

    Sets of earlier versions have no checks; a line without one is damaged if others have theirs.
    """
    lines: dict[int, tuple[Line, bool]] = {}
    bad: dict[int, str] = {}
    for number, text in numbered_lines(path):
        try:
            table = parse_json(text)
            check = table.pop("check", None)
            if check not in (None, _check(table, of_set)):
                raise ValueError("it does not fit its check")
            line = parsed(Line, table, f"line {number}")
            if len(line.targets) not in (0, len(line.ids)):
                raise ValueError(f"it has {len(line.targets)} targets for {len(line.ids)} images")
            if not set(line.unattacked) <= set(line.ids):
                raise ValueError("it names unattacked images that it does not hold")
            lines[number] = line, check is not None
        except (ValueError, TypeError, AttributeError, FdbenchError) as reason:
            bad[number] = str(reason)
    have = any(checked for _, checked in lines.values())
    bad |= {n: "it has no check" for n, (_, checked) in lines.items() if have and not checked}
    return [line for n, (line, _) in lines.items() if n not in bad], bad


def read_lines(folder: Path, of_set: str) -> list[Line]:
    """The lines of all ranks, without torn last ones; damaged ones are warned of and left out.

    Args:
        of_set: SetInfo.digest.
    """
    lines = []
    for path in SetPaths(folder).all_indices():
        good, bad = lines_of(path, of_set)
        lines += good
        for number, reason in bad.items():
            warn(
                f"{path}, line {number}: {reason}. It is left out: its images have to be made again"
            )
    return lines
