"""Append-only files of JSON lines, each with one writer, that `kill -9` can't spoil (C5)."""

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from fdbench.errors import FdbenchError
from fdbench.store.files import sync_folder, writing


def whole_lines(path: Path) -> bytes:
    """The file up to its last newline: what follows is a line that a kill tore, or a live one."""
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]


S = TypeVar("S", bound="Closing")


class Closing:
    """What a `with` closes at its end."""

    def close(self) -> None:
        """Lets go of what is held open."""
        raise NotImplementedError

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class Journal(Closing):
    """A file of lines, locked for this process; the lock ends with the process, come what may.

    What lies there is left as it is until `trim`, which has to come before the first `append`.
    Raises FdbenchError where the file can't be written, or another process is writing it.
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
                    "Wait for it, or stop it: the same command then continues from its lines."
                ) from reason
        self._found = self._length = len(whole_lines(path))  # all of them synced

    @property
    def grown(self) -> bool:
        """Whether anything was appended since it was opened."""
        return self._length > self._found

    def trim(self) -> None:
        """Drops the torn last line: it is done again."""
        with writing(self.path):
            os.ftruncate(self._handle, self._length)
            sync_folder(self.path.parent)

    def append(self, tables: Iterable[Mapping[str, object]]) -> None:
        """Puts tables on the disk, each as a line; as `append_lines`."""
        self.append_lines(json.dumps(table, allow_nan=False).encode() for table in tables)

    def append_lines(self, lines: Iterable[bytes]) -> None:
        """Puts lines, given without their ends, on the disk: all or none, before it returns."""
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
        """Lets go of the file."""
        os.close(self._handle)


def _write_all(handle: int, content: bytes) -> None:
    while content:  # a full disk may take a part first
        content = content[os.write(handle, content) :]
