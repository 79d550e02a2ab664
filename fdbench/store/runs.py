"""Runs: RunFolder writes one that survives `kill -9`, read_runs reads them (contract C5).

    results/runs/<name>/run.json             RunInfo: everything a rerun needs
    results/runs/<name>/rows-<rank>.jsonl    one JSON line per image, one file per process

The name ends in a hash of everything that can change a verdict, so the same command uses the same
folder and resumes there. Free of torch.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fdbench.errors import FdbenchError
from fdbench.randomness import ImageId
from fdbench.specs import digest
from fdbench.store.journal import Closing, Journal, whole_lines
from fdbench.store.notes import own_notes, with_notes, write_notes
from fdbench.store.resuming import changes, merged
from fdbench.store.rows import BadRow, Row, decode_row, encode_row
from fdbench.store.run_json import RunInfo, read_info, write_info
from fdbench.store.workspace import RunPaths, Workspace

_SAVE_SECONDS = 30.0  # between writes of run.json: the wall time that `kill -9` may lose


def _rows_in(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(whole_lines(path).splitlines(), 1):
        try:
            rows.append(decode_row(line))
        except BadRow as reason:
            raise FdbenchError(f"{path}, line {number} {reason}.") from reason
    return rows


def read_rows(folder: Path) -> tuple[list[Row], list[str]]:
    """The rows of all ranks, one per image (the first), and a warning for each file with repeats.

    Torn last lines are skipped and left in place: another process may be writing them.
    """
    rows: dict[ImageId, Row] = {}
    warnings = []
    for path in RunPaths(folder).all_rows():
        repeats = sum(rows.setdefault(row["image"], row) is not row for row in _rows_in(path))
        if repeats:
            warnings.append(
                f"{repeats} images were judged twice; {path.name} repeats them, ignored"
            )
    return list(rows.values()), warnings


def _extended(old: RunInfo, new: RunInfo) -> RunInfo:
    """The description with the larger of both numbers of images, and its command."""
    if new.images <= old.images:
        return old
    return replace(old, images=new.images, limit=new.limit, command=new.command)


class RunFolder(Closing):
    """A run's folder, open for writing by one process.

    `done` holds the images with a row from any process; `info` is the content of run.json. Rank 0
    maintains run.json, with the warnings and the wall time from `open` to `close`; other ranks
    write it only if it is missing, and keep notes of their own (store/notes.py).
    """

    def __init__(self, path: Path, info: RunInfo, rank: int, journal: Journal) -> None:
        self.path = path
        self.paths = RunPaths(path)
        self.info = info
        self.rank = rank
        self.done: set[ImageId] = set()
        self._journal = journal
        self._seconds = info.seconds  # of the sessions before this one
        self._began = self._saved = time.monotonic()

    @classmethod
    def open(cls, workspace: Workspace, info: RunInfo, rank: int = 0) -> "RunFolder":
        """Creates the run's folder, or resumes it after dropping this rank's torn last line.

        Raises FdbenchError if the folder can't be written, holds another run, or another process
        is writing this rank's rows.
        """
        path = workspace.run(info.name)
        journal = Journal(RunPaths(path).rows(rank))
        try:
            journal.trim()
            run = cls(path, info, rank, journal)
            run._resume()
        except BaseException:
            journal.close()
            raise
        return run

    def _resume(self) -> None:
        rows, warnings = read_rows(self.path)
        self.done = {row["image"] for row in rows}
        description = self.paths.description
        if not description.is_file():
            write_info(description, self.info)
            return
        old = read_info(description)
        if digest(old.identity) != digest(self.info.identity):
            raise FdbenchError(f"{description} describes another run. Move {self.path} away.")
        if 0 < len(self.done) < self.info.images:
            warnings += changes(old.environment, self.info.environment)
        self._seconds = old.seconds
        kept = replace(old, warnings=merged(old.warnings, self.info.warnings, warnings))
        self.info = _extended(kept, self.info)
        if self.rank:
            self.info = own_notes(self.paths, self.rank, self.info)
        elif self.info != old:
            write_info(description, self.info)

    def append(self, rows: Sequence[Row]) -> None:
        """Stores a batch's rows, all or none; they are on the disk when this returns."""
        self._journal.append_lines(map(encode_row, rows))
        self.done |= {row["image"] for row in rows}
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self._save()

    def warn(self, text: str) -> None:
        """Records a warning, repeated by every table that shows the run."""
        self.info = replace(self.info, warnings=merged(self.info.warnings, [text]))
        self._save()

    def note(self, settled: Mapping[str, object]) -> None:
        """Records choices settled before the attack (RunInfo.found)."""
        self.info = replace(self.info, found={**self.info.found, **settled})
        self._save()

    def _save(self) -> None:
        """Updates run.json, on rank 0 only, so that no rank overwrites another's version."""
        if self.rank:
            write_notes(self.paths, self.rank, self.info)
            return
        self._saved = time.monotonic()
        seconds = round(self._seconds + self._saved - self._began, 1)
        self.info = replace(self.info, seconds=seconds)
        write_info(self.paths.description, self.info)

    def close(self) -> None:
        """Records the time of a session that wrote rows, and releases the lock."""
        try:
            if self._journal.grown:
                self._save()
        finally:
            self._journal.close()


@dataclass(frozen=True)
class Run:
    """A run, finished or not; `rows` hold each image once."""

    path: Path
    info: RunInfo
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def finished(self) -> bool:
        return len(self.rows) >= self.info.images


def read_run(path: Path) -> Run:
    """The run in a folder. Raises FdbenchError, naming the file, for a malformed one."""
    rows, warnings = read_rows(path)
    paths = RunPaths(path)
    info = with_notes(paths, read_info(paths.description))
    return Run(path, replace(info, warnings=merged(info.warnings, warnings)), tuple(rows))


def read_runs(workspace: Workspace | Path) -> list[Run]:
    """Every run of a workspace, by name; finished, under way or just begun.

    Raises FdbenchError, naming the file, for a malformed run.json or row.
    """
    runs = []
    for path in Workspace.of(workspace).all_runs():
        if not RunPaths(path).description.is_file() and not read_rows(path)[0]:
            continue  # stopped before it described itself
        runs.append(read_run(path))
    return runs
