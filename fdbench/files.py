"""Atomic writes, JSON that others wrote, names that become paths, write errors with a remedy."""

import errno
import fcntl
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from fdbench.errors import BadValue, FdbenchError

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space and run the same command again",
    errno.EDQUOT: "Your quota is used up: free some space and run the same command again",
    errno.EROFS: "The file system is read-only: choose another one",
    errno.EACCES: "You may not write there: choose a folder you own",
    errno.EPERM: "You may not write there: choose a folder you own",
}
_LONGEST = 255  # bytes of a file's name: the limit of the usual file systems


def safe(name: str) -> str:
    """The last component of a path-like name, in characters that are safe in file names."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.rstrip("/").split("/")[-1]).strip(".-") or "x"


def is_entry(name: str) -> bool:
    """Whether a file of that name can exist, and is in the folder it is looked for in."""
    fits = len(name.encode("utf-8", "surrogateescape")) <= _LONGEST and name.isprintable()
    return fits and name not in ("", ".", "..") and "/" not in name and "\\" not in name


def entry(folder: Path, name: str) -> Path:
    """A file or folder directly in `folder`: the gate for every name that becomes a path.

    Names come from the command line, from run.json, from data sets. Raises BadValue for one that
    would lead elsewhere, or that no file can have.
    """
    if not is_entry(name):
        raise BadValue(
            f"{name[:60]!r} can't be the name of a file in {folder}.\n"
            f"A name has no / or \\, no control characters, and at most {_LONGEST} bytes."
        )
    return folder / name


def below(folder: Path, names: str) -> Path:
    """A file in `folder` or below it, `class/photo.png`; each part goes through `entry`."""
    for name in names.split("/"):
        folder = entry(folder, name)
    return folder


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError inside into an FdbenchError that names `path` and what to do about it."""
    try:
        yield
    except OSError as reason:
        raise FdbenchError(
            f"can't write {path}: {reason.strerror or reason}.\n{remedy(reason)} (--results DIR)."
        ) from reason


def remedy(reason: OSError) -> str:
    """What to do about a write that failed."""
    return _REMEDIES.get(reason.errno or 0, "Choose a folder that can be written")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is gone at the end, where TMPDIR says. Raises FdbenchError if there's none."""
    try:
        made = tempfile.TemporaryDirectory(prefix="fdbench-", ignore_cleanup_errors=True)
    except OSError as reason:
        raise FdbenchError(
            f"can't make a temporary folder: {reason.strerror or reason}.\n"
            f"{remedy(reason)} (TMPDIR=DIR)."
        ) from reason
    with made as folder:
        yield Path(folder)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def contents(path: Path) -> bytes:
    """The bytes of a file that may come from anywhere.

    Raises FileNotFoundError, and FdbenchError for what can't be read, or could be for ever: a
    device, a pipe.
    """
    try:
        # A pipe without a writer would wait.
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FdbenchError(f"{path} is not a file: a device or a pipe has no end.")
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as reason:
        raise FdbenchError(f"{path} can't be read: {reason.strerror}.") from reason


def sync_folder(path: Path) -> None:
    """Flushes a folder's entries to the disk, as fsync does a file's contents."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces the content of `path`, completely or not at all.

    Raises FdbenchError if it can't be written. No temporary file is left behind; that of a process
    that was killed is removed by the next one that writes into the folder.
    """
    with writing(path):
        with _temporary(path, content) as temporary:
            os.replace(temporary, path)
        sync_folder(path.parent)


def write_once(path: Path, content: str | bytes) -> None:
    """Writes as `write_atomically` does, unless the file exists: the first process's stays."""
    with writing(path):
        with _temporary(path, content) as temporary, suppress(FileExistsError):
            os.link(temporary, path)
        sync_folder(path.parent)


_TEMPORARY = re.compile(r"\..+\.[0-9]+\.fdbench")


@contextmanager
def _temporary(path: Path, content: str | bytes) -> Iterator[Path]:
    """A file beside `path` with this content, on the disk, that is gone at the end.

    It is locked while its process lives, so that another one can tell it from a leftover.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent.absolute())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.fdbench")
    try:
        with _locked(temporary) as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _locked(path: Path) -> BinaryIO:
    """A new file, open for writing and locked where the file system has locks."""
    while True:
        file = path.open("wb")
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(path, file):
            return file
        file.close()  # another process took it for a leftover just before


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Whether the path leads to this open file, and not to another one or to none."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    return False


@cache
def _remove_leftovers(folder: Path) -> None:
    """Removes the temporary files of processes that were killed: those that nobody has locked.

    Once for each folder and process; what can't be opened or locked stays.
    """
    with suppress(OSError):  # a folder that may be written and not read
        for path in map(folder.joinpath, filter(_TEMPORARY.fullmatch, os.listdir(folder))):
            with suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(path, file):  # else its process renamed it, and may have begun another
                    path.unlink()


_DEEPEST = 40  # brackets within brackets; nothing that fdbench writes has ten
_DIGITS = re.compile(rb"[0-9]{19}")  # 2**63 has 19


def parse_json(text: str | bytes) -> Any:
    """The plain data in a JSON text that may come from anywhere.

    Raises ValueError for what is no JSON or no Unicode, for integers of more than 64 bits, and for
    nesting so deep that no function could walk it.
    """
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        value = json.loads(content)
    except RecursionError as reason:
        raise ValueError("its brackets are nested too deeply") from reason
    except UnicodeDecodeError as reason:  # its text would hold the whole file
        raise ValueError(f"it is not UTF-8 at byte {reason.start}") from reason
    brackets = content.count(b"[") + content.count(b"{")
    if brackets > _DEEPEST or b"\\u" in content or _DIGITS.search(content):
        _refuse_extremes(value, 0)
    return value


def _refuse_extremes(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("its brackets are nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_extremes(key, depth)
            _refuse_extremes(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _refuse_extremes(item, depth + 1)
    elif isinstance(value, str):
        value.encode()  # a ValueError for half a character
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("it has an integer of more than 64 bits")
