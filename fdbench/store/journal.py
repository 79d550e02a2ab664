"""Append-only files of JSON lines, one writer each, that survive `kill -9` (contract C5)."""

import fcntl
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from fdbench.errors import FdbenchError
from fdbench.files import contents, sync_folder, writing


def whole_lines(path: Path) -> bytes:
    """The file up to its last newline. The rest was cut off by a kill, or is being written."""
    content = contents(path)
    return content[: content.rfind(b"\n") + 1]


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each whole line with its number, from 1, without those that `Journal.strike` blanked."""
    for number, line in enumerate(whole_lines(path).split(b"\n")[:-1], 1):
        if line.strip(b" ") or not line:
            yield number, line


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

    def strike(self, numbers: Collection[int]) -> Path:
        """Blanks damaged lines, so that no reader meets them again; returns where they are kept.

        The file keeps its length and its inode, which carries the lock; a kill leaves each line
        damaged or blank, and both are done again.
        """
        aside = self.path.with_name(f"{self.path.name}.damaged")
        lines = whole_lines(self.path).split(b"\n")
        with writing(aside), aside.open("ab") as file:
            file.writelines(lines[number - 1] + b"\n" for number in numbers)
            file.flush()
            os.fsync(file.fileno())
        with writing(self.path), self.path.open("r+b") as file:
            for number in numbers:
                file.seek(sum(len(line) + 1 for line in lines[: number - 1]))
                file.write(b" " * len(lines[number - 1]))
            file.flush()
            os.fsync(file.fileno())
        return aside

    def append(self, tables: Iterable[Mapping[str, object]]) -> None:
        """Appends each table as a line of JSON, as `append_lines` does."""
        self.append_lines(json.dumps(table, allow_nan=False).encode() for table in tables)

    def append_lines(self, lines: Iterable[bytes]) -> None:
        """Appends lines, given without newlines, all or none; they are on the disk on return.

        Raises FdbenchError if the file was deleted or replaced since it was opened.
        """
        content = b"".join(line + b"\n" for line in lines)
        with writing(self.path):
            try:
                _write_all(self._handle, content)
                os.fsync(self._handle)
            except BaseException:
                os.ftruncate(self._handle, self._length)
                raise
        self._length += len(content)
        self._refuse_replaced()

    def _refuse_replaced(self) -> None:
        """Raises FdbenchError if the path leads to another file, or to none."""
        try:
            same = os.path.samestat(os.stat(self.path), os.fstat(self._handle))
        except FileNotFoundError:
            same = False
        if not same:
            raise FdbenchError(
                f"{self.path} was deleted or replaced while it was being written: what was written "
                "since then is lost.\nPut it back if you can, and type the same command again: it "
                "does what is missing."
            )

    def close(self) -> None:
        """Closes the file and releases the lock."""
        os.close(self._handle)


def _write_all(handle: int, content: bytes) -> None:
    while content:  # a full disk may take a part first
        content = content[os.write(handle, content) :]
