"""A submission's folder: its fingerprint and its copy are of the same files, links followed."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fdbench.errors import FdbenchError
from fdbench.files import remedy

_CACHE = "__pycache__"  # Python's own, which differs from run to run
_MOST_FILES = 100_000
_MOST_BYTES = 1 << 36  # 64 GiB


@dataclass(frozen=True)
class _Entry:
    name: str  # relative to the folder
    path: Path
    is_folder: bool
    size: int


def _refuse(root: Path, name: str, reason: str) -> FdbenchError:
    return FdbenchError(
        f"{root / name} {reason}.\nA submission runs in a copy of its folder: put files into it, "
        "not links to elsewhere."
    )


def _walk(root: Path, folder: Path, above: frozenset[Path]) -> Iterator[_Entry]:
    for path in sorted(folder.iterdir()):
        name, real = path.relative_to(root).as_posix(), path.resolve()
        if path.name == _CACHE or not path.exists():  # a link that leads nowhere is no file
            continue
        if not real.is_relative_to(root.resolve()):
            raise _refuse(root, name, "is a link that leads out of the submission")
        if real in above:
            raise _refuse(root, name, "is a link that leads back up")
        if path.is_dir():
            yield _Entry(name, path, True, 0)
            yield from _walk(root, path, above | {real})
        elif path.is_file():
            yield _Entry(name, path, False, path.stat().st_size)
        else:
            raise _refuse(root, name, "is a device, a pipe or a socket")


def _entries(root: Path) -> Iterator[_Entry]:
    """All folders and files, in order. Raises FdbenchError naming what can't be copied."""
    count = size = 0
    for one in _walk(root, root, frozenset({root.resolve()})):
        count, size = count + 1, size + one.size
        if count > _MOST_FILES or size > _MOST_BYTES:  # links may multiply
            raise FdbenchError(
                f"{root} has more than {_MOST_FILES:,} files or {_MOST_BYTES >> 30} GiB."
            )
        yield one


def fingerprint(folder: Path) -> str:
    """Returns the sha256 of the names and bytes of all files in a folder except Python's caches.

    Raises FdbenchError for links that lead out of the folder or back up, for devices and pipes.
    """
    digest = hashlib.sha256()
    for one in sorted(_entries(folder), key=lambda one: one.path):
        if not one.is_folder:
            content = hashlib.sha256(one.path.read_bytes()).hexdigest()
            digest.update(f"{content} {one.name}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def copy(folder: Path, place: Path) -> None:
    """Copies the same files before each run, as the evaluation's worker did: runs share no state.

    Raises FdbenchError as `fingerprint` does, and if they can't be copied.
    """
    try:
        place.mkdir(parents=True)
        for one in _entries(folder):
            if one.is_folder:
                (place / one.name).mkdir()
            else:
                shutil.copy2(one.path, place / one.name)
    except OSError as reason:
        raise FdbenchError(
            f"{folder} can't be copied to where it runs: {reason.strerror} "
            f"({os.fspath(reason.filename or folder)}).\n{remedy(reason)} (TMPDIR=DIR)."
        ) from reason
