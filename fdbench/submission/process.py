"""Opens a submission's folder and runs it as a process, with a time limit."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import IO

from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.files import parse_json

_LOG_TAIL = 2000  # bytes of a submission's output that are kept
_ENTRY_POINTS = {  # by the type in metadata.json
    "attack": "run_attack.sh",
    "targeted_attack": "run_attack.sh",
    "defense": "run_defense.sh",
}


@dataclass(frozen=True)
class Submission:
    """A folder that can be run; `kind` is "attack", "targeted_attack" or "defense"."""

    folder: Path
    kind: str
    entry_point: str

    @property
    def targeted(self) -> bool:
        """Whether it takes a target class for each image."""
        return self.kind == "targeted_attack"


@dataclass(frozen=True)
class ProcessResult:
    """How a submission's process ended; no exit code if it timed out."""

    seconds: float
    exit_code: int | None
    log: str  # the end of what it wrote to stdout and stderr

    @property
    def timed_out(self) -> bool:
        return self.exit_code is None

    def messages(self) -> list[str]:
        """Returns what the user should know of it: nothing, if all went well."""
        if self.exit_code == 0:
            return []
        ended = "timed out" if self.timed_out else f"failed with exit code {self.exit_code}"
        output = self.log.strip() or "nothing"
        return [f"it {ended} after {self.seconds:.1f} s; its last output: {output}"]


def open_submission(folder: Path, role: str) -> Submission:
    """Opens the submission in a folder, which must be an "attack" or "defense" as `role` requires.

    Type and entry point are read from its metadata.json; the defaults are the role and the role's
    usual script. Raises FdbenchError for anything that can't be run.
    """
    metadata = _metadata(folder / "metadata.json")
    kind = metadata.get("type", role)
    if kind not in _ENTRY_POINTS:
        raise unknown(f"type of submission ({folder / 'metadata.json'})", kind, _ENTRY_POINTS)
    if (kind == "defense") != (role == "defense"):
        raise BadValue(f"{folder} is of type {kind!r}, but must be of type {role!r} here.")
    entry_point = metadata.get("entry_point", _ENTRY_POINTS[kind])
    script = folder / entry_point
    try:
        inside = script.resolve().is_relative_to(folder.resolve()) and script.is_file()
    except (OSError, ValueError):  # a name too long, or with a NUL
        inside = False
    if not inside:
        raise FdbenchError(f"{folder} has no {entry_point}, the submission's entry point.")
    if not os.access(script, os.X_OK):
        raise FdbenchError(f"{script} can't be executed: chmod +x {script}")
    return Submission(folder.resolve(), kind, entry_point)


def _metadata(path: Path) -> dict[str, str]:
    if not path.parent.is_dir():
        raise FdbenchError(f"there is no folder {path.parent}.")
    if not path.is_file():
        return {}
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as reason:
        raise FdbenchError(f"{path} can't be read: {reason}.") from reason
    fields = content if isinstance(content, dict) else {"type": content}
    metadata = {key: fields[key] for key in ("type", "entry_point") if key in fields}
    if not all(isinstance(value, str) for value in metadata.values()):
        raise FdbenchError(f'{path} must hold strings: {{"type": ..., "entry_point": ...}}.')
    return metadata


def fingerprint(folder: Path) -> str:
    """Returns the sha256 of the names and bytes of all files in a folder except Python's caches."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{content} {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def _stop(process: Popen[bytes]) -> None:
    """Kills the process and all its children that are still in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _copy(folder: Path, place: Path) -> None:
    """Copies a submission before each run, as the evaluation's worker did: runs share no state."""
    try:
        shutil.copytree(folder, place, ignore_dangling_symlinks=True)
    except (OSError, shutil.Error) as reason:
        raise FdbenchError(f"{folder} can't be copied to where it runs: {reason}") from reason


def _start(
    submission: Submission, code: Path, words: Sequence[str], log: IO[bytes]
) -> Popen[bytes]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    try:
        return Popen(
            [f"./{submission.entry_point}", *words],
            cwd=code,
            env={"PATH": path, "HOME": str(code.parent), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as reason:
        raise FdbenchError(
            f"{submission.folder / submission.entry_point} can't be started: {reason.strerror}.\n"
            "Its first line must name the program that runs it, as in #!/bin/sh"
        ) from reason


def execute(submission: Submission, words: Sequence[str], limit_s: float) -> ProcessResult:
    """Runs the entry point in a copy of its folder, for `limit_s` seconds at most.

    Of this process's environment it gets only PATH. The folder of this Python comes first in it, so
    that `python3` has NumPy and Pillow, and `fdbench` can be called.
    """
    with (
        tempfile.TemporaryDirectory(prefix="fdbench-", ignore_cleanup_errors=True) as home,
        tempfile.TemporaryFile() as log,
    ):
        code = Path(home) / "code"
        _copy(submission.folder, code)
        began = time.monotonic()
        process = _start(submission, code, words, log)
        exit_code: int | None = None
        try:
            with suppress(subprocess.TimeoutExpired):
                exit_code = process.wait(limit_s)
        finally:
            _stop(process)
        seconds = time.monotonic() - began
        log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL))
        return ProcessResult(seconds, exit_code, log.read().decode(errors="replace"))
