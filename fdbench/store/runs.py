"""Runs: RunFolder writes one that survives `kill -9`, read_runs reads them (contract C5).

    results/runs/<name>/run.json             RunInfo: everything a rerun needs
    results/runs/<name>/rows-<rank>.jsonl    one JSON line per image, one file per process

The name ends in a hash of everything that can change a verdict, so the same command uses the same
folder and resumes there. Free of torch.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from fdbench.console import warn
from fdbench.errors import FdbenchError
from fdbench.randomness import ImageId
from fdbench.specs import digest
from fdbench.store.columns import Columns, Ids, shared_ids
from fdbench.store.journal import Closing, Journal
from fdbench.store.notes import own_notes, with_notes, write_notes
from fdbench.store.reading import RowsRead, bad_lines, read_columns, read_rows
from fdbench.store.reading_together import read_together
from fdbench.store.resuming import changes, merged
from fdbench.store.rows import Row, encode_row, row_digest
from fdbench.store.run_json import RunInfo, read_info, write_info
from fdbench.store.workspace import RunPaths, Workspace

# How the names of what a run may have before its run.json begin; hidden files are temporary.
_OURS = (".", "rows-", "notes-", "scratch-", "behaviour", "targets", "adv", "png")
_SAVE_SECONDS = 30.0  # between writes of run.json: the wall time that `kill -9` may lose


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
    def open(
        cls, workspace: Workspace, info: RunInfo, rank: int = 0, world: int = 1
    ) -> "RunFolder":
        """Creates the run's folder, or resumes it after dropping this rank's torn last line.

        Raises FdbenchError if the folder can't be written, holds another run, or another process
        is writing this rank's rows, or (on rank 0) those of a rank that `world` processes lack:
        one of an earlier, larger job, whose images would be judged twice.
        """
        path = workspace.run(info.name)
        journal = Journal(RunPaths(path).rows(rank))
        try:
            journal.trim()
            run = cls(path, info, rank, journal)
            run._resume(() if rank else run.paths.rows_beyond(world))
        except BaseException:
            journal.close()
            raise
        return run

    def _resume(self, beyond: Sequence[Path]) -> None:
        description = self.paths.description
        known = read_info(description) if description.is_file() else self.info
        self._set_aside(self._journal, known.key)
        for path in beyond:
            with Journal(path) as left_behind:
                self._set_aside(left_behind, known.key)
        read = read_columns(self.path, known.key)
        warnings = [*read.warnings, *read.damaged]
        self.done = set(read.columns.images.tolist())
        if not description.is_file():
            write_info(description, self.info)
            return
        old = known
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

    def _set_aside(self, journal: Journal, key: str) -> None:
        """Takes damaged lines out of a file of rows, with a warning: their images are redone."""
        path = journal.path
        bad = bad_lines(path, key)
        if not bad:
            return
        aside = journal.strike(tuple(bad))
        number, reason = next(iter(bad.items()))
        text = (
            f"{path}, line {number} {reason} ({len(bad)} such lines): kept in {aside.name}, and "
            "their images are judged again"
        )
        warn(text)
        self.info = replace(self.info, warnings=merged(self.info.warnings, [text]))

    def append(self, rows: Sequence[Row]) -> None:
        """Stores a batch's rows, all or none, each with its check; on the disk on return."""
        self._journal.append_lines(
            encode_row({**row, "check": row_digest(row, self.info.key)}) for row in rows
        )
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


@dataclass(frozen=True, eq=False)
class Run:
    """A run, finished or not; `columns` hold each image once.

    `damaged` names lines that were left out; `info.warnings` has them too.
    """

    path: Path
    info: RunInfo
    columns: Columns
    damaged: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The rows with all of their fields, read anew from the run's folder."""
        return tuple(read_rows(self.path, self.info.key))

    @property
    def finished(self) -> bool:
        return len(self.columns) >= self.info.images


def _run(path: Path, info: RunInfo, read: RowsRead) -> Run:
    noted = replace(info, warnings=merged(info.warnings, read.damaged, read.warnings))
    return Run(path, noted, read.columns, read.damaged)


def _info(path: Path) -> RunInfo:
    paths = RunPaths(path)
    return with_notes(paths, read_info(paths.description))


def read_run(path: Path) -> Run:
    """The run in a folder. Raises FdbenchError, naming the file, for a malformed one."""
    info = _info(path)
    return _run(path, info, read_columns(path, info.key))


def read_infos(workspace: Workspace | Path) -> dict[Path, RunInfo]:
    """The description of every run of a workspace by its folder, in the order of their names.

    A run with a malformed or edited run.json is named and left out.
    """
    infos = {}
    for path in Workspace.of(workspace).all_runs():
        paths = RunPaths(path)
        if not paths.description.is_file() and not any(f.stat().st_size for f in paths.all_rows()):
            if strange := sorted(f.name for f in path.iterdir() if not f.name.startswith(_OURS)):
                warn(f"{path.name} is left out: it has no run.json, but {strange[0]}")
            continue  # else stopped before it described itself
        try:
            infos[path] = _info(path)
        except FdbenchError as reason:
            warn(f"{path.name} is left out: {reason.message}")
    return infos


def read_runs(workspace: Workspace | Path) -> list[Run]:
    """Every run of a workspace, by name; finished, under way or just begun.

    A run with a malformed or edited run.json is named and left out. Runs on the same images share
    the array of their ids.
    """
    infos = read_infos(workspace)
    keys = {path: info.key for path, info in infos.items()}
    known: dict[object, Ids] = {}
    runs = []
    for path, read in read_together(keys).items():
        columns = replace(read.columns, images=shared_ids(read.columns, known))
        runs.append(_run(path, infos[path], replace(read, columns=columns)))
    return runs
