"""A submission's folder and its process: nothing of ours goes in, and its time is limited."""

import hashlib
import json
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

_LOG_TAIL = 2000  # bytes of a submission's own words that are kept
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
        """Whether it is told which class is wanted of each image."""
        return self.kind == "targeted_attack"


@dataclass(frozen=True)
class ProcessResult:
    """How a submission's process ended; no exit code if its time was up."""

    seconds: float
    exit_code: int | None
    log: str  # the end of what it wrote to stdout and stderr

    @property
    def timed_out(self) -> bool:
        return self.exit_code is None

    def messages(self) -> list[str]:
        """What a person should know of it: nothing, if all went well."""
        if self.exit_code == 0:
            return []
        ended = f"failed with exit code {self.exit_code} after"
        said = self.log.strip() or "nothing"
        return [
            f"it {'was stopped, its time up, after' if self.timed_out else ended} "
            f"{self.seconds:.1f} s; the last it said: {said}"
        ]


def open_submission(folder: Path, role: str) -> Submission:
    """The submission in a folder, which must be what `role`, "attack" or "defense", says.

    Its metadata.json tells type and entry point; without it, or without these, the role and the
    role's usual script are taken. Raises FdbenchError for anything that could not be run.
    """
    metadata = _metadata(folder / "metadata.json")
    kind = metadata.get("type", role)
    if kind not in _ENTRY_POINTS:
        raise unknown(f"type of submission ({folder / 'metadata.json'})", kind, _ENTRY_POINTS)
    if (kind == "defense") != (role == "defense"):
        raise BadValue(f"{folder} is of type {kind!r}; here goes a submission that is {role!r}.")
    entry_point = metadata.get("entry_point", _ENTRY_POINTS[kind])
    script = folder / entry_point
    if not script.resolve().is_relative_to(folder.resolve()) or not script.is_file():
        raise FdbenchError(f"{folder} has no {entry_point}, which is where a submission starts.")
    if not os.access(script, os.X_OK):
        raise FdbenchError(f"{script} can't be executed: chmod +x {script}")
    return Submission(folder.resolve(), kind, entry_point)


def _metadata(path: Path) -> dict[str, str]:
    if not path.parent.is_dir():
        raise FdbenchError(f"there is no folder {path.parent}.")
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise FdbenchError(f"{path} can't be read: {reason}.") from reason
    told = content if isinstance(content, dict) else {"type": content}
    found = {key: told[key] for key in ("type", "entry_point") if key in told}
    if not all(isinstance(value, str) for value in found.values()):
        raise FdbenchError(f'{path} must hold texts: {{"type": ..., "entry_point": ...}}.')
    return found


def fingerprint(folder: Path) -> str:
    """A SHA-256 of the names and bytes of all files in a folder, Python's caches aside."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{content} {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def _stop(process: Popen[bytes]) -> None:
    """Ends the process and all that it started, unless they left its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _copy(folder: Path, place: Path) -> None:
    """The evaluation's worker copied a submission before each run: none passes on to the next."""
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
    """The entry point in a copy of its folder, for `limit_s` seconds at most.

    Of this process's environment it sees PATH alone. The folder of this Python is looked in first,
    so that a `python3` with NumPy and Pillow is found, and `fdbench` itself.
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
