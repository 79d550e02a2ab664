"""A lock that a name's files share: one process at a time trains one network. Free of torch."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fdbench.errors import FdbenchError
from fdbench.files import writing


@contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Holds the lock of a file that is written under this name; the lock dies with the process.

    Raises FdbenchError, saying what another process is `doing`, if that process holds the lock.
    """
    place = _place(path)
    handle = _taken(place)
    if handle is None:
        raise FdbenchError(
            f"another process is {doing} {path.stem} ({path.parent}).\n"
            "Wait for it, or stop it: the same command then continues where it was."
        )
    try:
        yield
    finally:
        place.unlink(missing_ok=True)  # while it is held: nobody else can be in its place
        os.close(handle)


def clear_lock(path: Path) -> None:
    """Removes the file of a lock whose process was killed at the very end of its work."""
    place = _place(path)
    handle = _taken(place) if place.exists() else None
    if handle is not None:
        place.unlink(missing_ok=True)
        os.close(handle)


def _place(path: Path) -> Path:
    return path.with_name(f".{path.stem}.lock")


def _taken(place: Path) -> int | None:
    """The open lock file, or None if another process holds it."""
    while True:
        with writing(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if place.exists() and os.path.samestat(os.stat(place), os.fstat(handle)):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        os.close(handle)  # its last owner removed it between our opening and locking it
