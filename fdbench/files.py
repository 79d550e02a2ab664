"""Atomic writes, JSON that others wrote, names that become paths, write errors with a remedy."""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError inside into an FdbenchError that names `path` and what to do about it."""
    try:
        yield
    except OSError as reason:
        remedy = _REMEDIES.get(reason.errno or 0, "Choose a folder that can be written")
        raise FdbenchError(
            f"can't write {path}: {reason.strerror or reason}.\n{remedy} (--results DIR)."
        ) from reason


def sync_folder(path: Path) -> None:
    """Flushes a folder's entries to the disk, as fsync does a file's contents."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces the content of `path`, completely or not at all.

    Raises FdbenchError if it can't be written; no temporary file is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


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
