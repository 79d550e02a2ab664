"""Append-only files of JSON lines, one writer each, that survive `kill -9` (contract C5)."""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from fdbench.errors import FdbenchError
from fdbench.files import sync_folder, writing


def whole_lines(path: Path) -> bytes:
    """The file up to its last newline. The rest was cut off by a kill, or is being written."""
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]


S = TypeVar("S", bound="Closing")


class Closing:
    """A resource that `with` closes."""

    def close(self) -> None:
        """Releases what is held open."""
        raise NotImplementedError

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class Journal(Closing):
    """A file of lines, locked by this process; the lock does not outlive the process.

    Opening changes nothing in the file. Call `trim` before the first `append`. Raises FdbenchError
    if the file can't be written, or another process is writing it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as reason:
                os.close(self._handle)
                raise FdbenchError(
                    f"another process is writing {path}.\n"
                    "Wait for it, or stop it: the same command then continues where it was."
                ) from reason
        self._opened_at = self._length = len(whole_lines(path))  # all of them synced

    @property
    def grown(self) -> bool:
        """Whether anything was appended since it was opened."""
        return self._length > self._opened_at

    def trim(self) -> None:
        """Drops a torn last line."""
        with writing(self.path):
            os.ftruncate(self._handle, self._length)
            sync_folder(self.path.parent)

    def append(self, tables: Iterable[Mapping[str, object]]) -> None:
        """Appends each table as a line of JSON, as `append_lines` does."""
        self.append_lines(json.dumps(table, allow_nan=False).encode() for table in tables)

    def append_lines(self, lines: Iterable[bytes]) -> None:
        """Appends lines, given without newlines, all or none; they are on the disk on return."""
        content = b"".join(line + b"\n" for line in lines)
        with writing(self.path):
            try:
                _write_all(self._handle, content)
                os.fsync(self._handle)
            except BaseException:
                os.ftruncate(self._handle, self._length)
                raise
        self._length += len(content)

    def close(self) -> None:
        """Closes the file and releases the lock."""
        os.close(self._handle)


def _write_all(handle: int, content: bytes) -> None:
    while content:  # a full disk may take a part first
        content = content[os.write(handle, content) :]
