"""Taps on the I/O calls of a process: they count them, or interrupt the process at one of them.

A call is an `open`, `write`, `fsync`, `ftruncate`, `close`, `flock`, `replace`, `rename`, `link`,
`unlink`, `mkdir` or `rmdir` on a file below one of the watched folders, as fdbench's own code,
pathlib, tempfile and shutil make it. What a call does is left as it is; only `fsync` does nothing,
which takes time and matters to a power cut alone.
"""

import builtins
import errno
import fcntl
import io
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What happens at a call. `torn`: half of a write reaches the disk, then the process is killed.
# `full`: this call and each later one that needs space fail, as on a full disk. `stop`: the
# process is halted, as by Ctrl-Z, until someone lets it go on.
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
SIGNALS |= {"torn": signal.SIGKILL, "late-int": signal.SIGINT, "stop": signal.SIGSTOP}
NEEDS_SPACE = ("create", "write", "fsync", "replace", "rename", "link", "mkdir")


@dataclass
class Taps:
    """The calls so far, each as `write results/runs/x/run.json`, and what to do at one of them."""

    folders: Sequence[Path]
    at: int | None = None  # the number of the call to interrupt, from 0
    how: str = ""
    calls: list[str] = field(default_factory=list)
    full: bool = False

    def watched(self, place: Any) -> Path | None:
        """The path of a file, given as path, handle or open file; None if it is not watched."""
        place = place.fileno() if hasattr(place, "fileno") else place
        if isinstance(place, int):
            try:
                place = os.readlink(f"/proc/self/fd/{place}")
            except OSError:
                return None
            if not place.startswith("/"):  # a pipe
                return None
        path = Path(os.path.abspath(os.fsdecode(place)))
        return path if any(path.is_relative_to(folder) for folder in self.folders) else None

    def call(self, name: str, path: Path, do: Callable[[], Any], half: Any = None) -> Any:
        """Makes one call, unless it is the one to interrupt; `half` makes a part of it."""
        number = len(self.calls)
        self.calls.append(f"{name} {path}")
        if self.how == "full":
            self._refuse(number, name, half)
        elif number == self.at and self.how != "late-int":
            if self.how == "torn" and half is not None:
                half()
            os.kill(os.getpid(), SIGNALS[self.how])
        try:
            return do()
        finally:
            if number == self.at and self.how == "late-int":
                os.kill(os.getpid(), signal.SIGINT)

    def _refuse(self, number: int, name: str, half: Any) -> None:
        first = number == self.at
        if first and half is not None:
            half()
        self.full |= first
        if self.full and name in NEEDS_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _kind_of_open(path: Path, creates: bool, truncates: bool) -> str:
    return "create" if creates and (truncates or not path.exists()) else "open"


class _File(io.FileIO):
    """A file whose writes are calls; `half` of one is its first half."""

    taps: Taps
    path: Path

    def write(self, content: Any) -> int:
        piece, size = memoryview(content), len(content) // 2
        write = super().write

        def half() -> None:
            write(piece[:size])

        done: int = self.taps.call("write", self.path, lambda: write(piece), half)
        return done

    def close(self) -> None:
        close = super().close
        if self.closed:
            return
        if self.writable():
            self.taps.call("close", self.path, close)
        close()


def _tapped_open(taps: Taps, plain: Callable[..., Any]) -> Callable[..., Any]:
    """`io.open`; a binary file opened for writing is buffered above a `_File`."""

    def tapped(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        path = None if isinstance(file, int) else taps.watched(file)
        if path is None:
            return plain(file, mode, *rest, **named)
        writes = bool(set(mode) & set("wax+"))
        name = _kind_of_open(path, bool(set(mode) & set("wax")), "w" in mode)
        if not writes or "b" not in mode:
            return taps.call(name, path, lambda: plain(file, mode, *rest, **named))
        raw: _File = taps.call(name, path, lambda: _File(file, mode))
        raw.taps, raw.path = taps, path
        return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)

    return tapped


def _tapped_os_open(taps: Taps, plain: Callable[..., int]) -> Callable[..., int]:
    def tapped(place: Any, flags: int, *rest: Any, **named: Any) -> int:
        path = taps.watched(place) if named.get("dir_fd") is None else None
        if path is None:
            return plain(place, flags, *rest, **named)
        name = _kind_of_open(path, bool(flags & os.O_CREAT), False)
        done: int = taps.call(name, path, lambda: plain(place, flags, *rest, **named))
        return done

    return tapped


def _tapped_write(taps: Taps, plain: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
    def tapped(handle: int, content: Any) -> int:
        path = taps.watched(handle)
        if path is None:
            return plain(handle, content)

        def half() -> None:
            plain(handle, content[: len(content) // 2])

        done: int = taps.call("write", path, lambda: plain(handle, content), half)
        return done

    return tapped


def _tapped(taps: Taps, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose first argument is a path or a handle; of two paths the second counts."""

    def tapped(place: Any, *rest: Any, **named: Any) -> Any:
        target = rest[0] if name in ("replace", "rename", "link") else place
        relative = any(named.get(key) is not None for key in ("dir_fd", "src_dir_fd"))
        path = None if relative else taps.watched(target)
        if path is None:
            return plain(place, *rest, **named)
        return taps.call(name, path, lambda: plain(place, *rest, **named))

    return tapped


def install(taps: Taps) -> None:
    """Taps this process, for good."""
    os.fsync = _tapped(taps, "fsync", lambda handle: None)
    for name in ("ftruncate", "replace", "rename", "link", "unlink", "mkdir", "rmdir"):
        setattr(os, name, _tapped(taps, name, getattr(os, name)))
    os.close = _tapped(taps, "close", os.close)
    fcntl.flock = _tapped(taps, "flock", fcntl.flock)
    os.write = _tapped_write(taps, os.write)
    os.open = _tapped_os_open(taps, os.open)
    io.open = builtins.open = _tapped_open(taps, io.open)
