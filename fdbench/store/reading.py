"""Reads the rows of a run from the files of all its processes. Free of torch."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fdbench.errors import FdbenchError
from fdbench.randomness import ImageId
from fdbench.store.alike import AlikeLines
from fdbench.store.columns import Columns, ColumnsBuilder
from fdbench.store.journal import numbered_lines
from fdbench.store.rows import BadRow, Row, decode_row
from fdbench.store.workspace import RunPaths


@dataclass(frozen=True)
class RowsRead:
    """The rows of a run, one per image (the first); what is damaged; and warnings.

    Damaged lines are left out, and named, the first of each file; torn last ones are left out too,
    as another process may be writing them.
    """

    columns: Columns
    damaged: tuple[str, ...]
    warnings: tuple[str, ...]


def _lines(path: Path, key: str) -> Iterator[tuple[int, Row | BadRow]]:
    """Each line's number, and its row or what is wrong with it."""
    for number, line in numbered_lines(path):
        try:
            yield number, decode_row(line, key)
        except BadRow as reason:
            yield number, reason


def bad_lines(path: Path, key: str) -> dict[int, str]:
    """What is wrong with each line of a file that is no row, by its number.

    Args:
        key: RunInfo.key.
    """
    return {number: str(row) for number, row in _lines(path, key) if isinstance(row, BadRow)}


def _left_out(path: Path, bad: Mapping[int, str]) -> list[str]:
    """A warning that names the damaged lines of a file."""
    if not bad:
        return []
    number, reason = next(iter(bad.items()))
    more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
    return [f"{path}, line {number} {reason}{more}: left out, their images count as not judged"]


def _read_file(path: Path, key: str, builder: ColumnsBuilder) -> tuple[dict[int, str], int]:
    """Hands every row to the builder; returns what is wrong with other lines, and the repeats."""
    bad, repeats, alike = {}, 0, AlikeLines(builder, key)
    for number, line in numbered_lines(path):
        taken = alike.take(line)
        if taken is None:
            try:
                taken = alike.learn(decode_row(line, key))
            except BadRow as reason:
                bad[number] = str(reason)
                continue
        repeats += not taken
    alike.flush()
    return bad, repeats


def read_columns(folder: Path, key: str) -> RowsRead:
    """The rows of all processes that wrote to a run's folder, by column.

    Args:
        key: RunInfo.key.
    """
    builder = ColumnsBuilder()
    damaged, warnings = [], []
    for path in RunPaths(folder).all_rows():
        try:
            bad, repeats = _read_file(path, key, builder)
        except FdbenchError as reason:  # no file, but a folder, device or pipe
            damaged.append(f"{reason.message} It is left out")
            continue
        damaged += _left_out(path, bad)
        if repeats:
            warnings.append(
                f"{repeats} images were judged twice; {path.name} repeats them, ignored"
            )
    return RowsRead(builder.columns(), tuple(damaged), tuple(warnings))


def read_rows(folder: Path, key: str) -> list[Row]:
    """The rows that `read_columns` reads, with all of their fields."""
    rows: dict[ImageId, Row] = {}
    for path in RunPaths(folder).all_rows():
        with suppress(FdbenchError):  # as read_columns leaves it out
            for _, row in _lines(path, key):
                if not isinstance(row, BadRow):
                    rows.setdefault(row["image"], row)
    return list(rows.values())
