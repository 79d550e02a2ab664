"""Removes what interrupted sessions left in a run or a set and no later one uses. Free of torch."""

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fdbench.files import contents, writing
from fdbench.store.runs import read_run
from fdbench.store.workspace import RunPaths, SetPaths

_SHARD = re.compile(r"[0-9a-f]{32}\.safetensors")  # as store/images.py names them


@contextmanager
def clearing_run(paths: RunPaths) -> Iterator[None]:
    """Wraps a session that writes a run; the last one at work clears the run's folder.

    It removes shards that no row names and, of a finished run, every process's scratch file.
    """
    with _clearing(paths.folder) as alone:
        yield
        if alone():
            _remove(_unnamed(paths.images, paths.all_rows()))
            scratch = paths.all_scratch()
            if scratch and read_run(paths.folder).finished:
                _remove(scratch)


@contextmanager
def clearing_set(paths: SetPaths) -> Iterator[None]:
    """Does the same for a set: the last session removes shards that no index names."""
    with _clearing(paths.folder) as alone:
        yield
        if alone():
            _remove(_unnamed(paths.images, paths.all_indices()))


@contextmanager
def _clearing(folder: Path) -> Iterator[Callable[[], bool]]:
    """Shares a lock of the folder with other sessions; yields whether this is the only one left.

    No other one can begin between that answer and the end.
    """
    handle = os.open(folder, os.O_RDONLY)

    def alone() -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another one is at work, or the file system has no such locks
            return False
        return True

    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield alone
    finally:
        os.close(handle)


def _unnamed(images: Path, journals: Sequence[Path]) -> list[Path]:
    """The shards that no line of a journal names; a user's own files are none."""
    named = b"".join(contents(path) for path in journals)
    shards = [path for path in images.glob("*.safetensors") if _SHARD.fullmatch(path.name)]
    return [path for path in shards if path.name.encode() not in named]


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        with writing(path):
            path.unlink(missing_ok=True)
