"""Opens a submission's folder and runs it: in a copy, in a sandbox, with a time limit."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.files import contents, parse_json, temporary_folder
from fdbench.submission import sandbox, tree

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
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
    sandbox: str = "none"  # or "bubblewrap", "namespaces"

    @property
    def timed_out(self) -> bool:
        return self.exit_code is None

    def messages(self) -> list[str]:
        """Returns what the user should know of it: nothing, if all went well in a sandbox."""
        caveat = sandbox.CAVEATS[self.sandbox]
        caveats = [caveat] if caveat else []
        if self.exit_code == 0:
            return caveats
        ended = "timed out" if self.timed_out else f"failed with exit code {self.exit_code}"
        output = self.log.strip() or "nothing"
        return [f"it {ended} after {self.seconds:.1f} s; its last output: {output}", *caveats]


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
        content = parse_json(contents(path))
    except (OSError, ValueError) as reason:
        raise FdbenchError(f"{path} can't be read: {reason}.") from reason
    fields = content if isinstance(content, dict) else {"type": content}
    metadata = {key: fields[key] for key in ("type", "entry_point") if key in fields}
    if not all(isinstance(value, str) for value in metadata.values()):
        raise FdbenchError(f'{path} must hold strings: {{"type": ..., "entry_point": ...}}.')
    return metadata


def _start_fault(script: Path) -> str:
    """Why the system could not start a file; "" if it can. In a sandbox it would not say so."""
    with script.open("rb") as file:
        first = file.read(256)
    if not first.startswith(b"#!"):
        return "" if first.startswith((b"\x7fELF", b"\xcf\xfa\xed\xfe")) else "Exec format error"
    program = first[2:].split(b"\n")[0].split()
    return "" if program and os.path.exists(program[0]) else "No such file or directory"


def _cannot_start(submission: Submission, reason: str) -> FdbenchError:
    return FdbenchError(
        f"{submission.folder / submission.entry_point} can't be started: {reason}.\n"
        "Its first line must name the program that runs it, as in #!/bin/sh"
    )


def _supervised(command: Sequence[str], places: sandbox.Places, limit_s: float) -> dict[str, Any]:
    """Runs the command under supervisor.py; returns its answer.

    The pipe to its stdin is never written: its end means that this process is gone.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    home = str(places.home)
    request = {"command": list(command), "cwd": str(places.code), "limit_s": limit_s}
    supervisor = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_SUPERVISOR), json.dumps(request)],
        env={"PATH": path, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with supervisor:
        assert supervisor.stdout is not None
        try:
            answer = supervisor.stdout.read()
        except BaseException:
            supervisor.terminate()  # it ends the submission first
            raise
    if not answer:
        raise FdbenchError(f"{places.code.name}: its supervisor was killed; run it again.")
    result: dict[str, Any] = json.loads(answer)
    return result


def execute(
    submission: Submission, words: Sequence[str], limit_s: float, *, inputs: Path, output: Path
) -> ProcessResult:
    """Runs the entry point in a copy of its folder, for `limit_s` seconds at most.

    In a sandbox, if the system has one, it can write to `output`, its copy and its home alone. Of
    this process's environment it gets only PATH. The folder of this Python comes first in it, so
    that `python3` has NumPy and Pillow, and `fdbench` can be called. Nothing that it starts
    outlives it. Raises FdbenchError if it can't be copied or started.
    """
    script = submission.folder / submission.entry_point
    if fault := _start_fault(script):
        raise _cannot_start(submission, fault)
    with temporary_folder() as home:
        places = sandbox.Places(home / "code", home, inputs, output)
        tree.copy(submission.folder, places.code)
        box = sandbox.kind()
        command = sandbox.boxed(box, places, [f"./{submission.entry_point}", *words])
        began = time.monotonic()
        result = _supervised(command, places, limit_s)
        if "error" in result:
            raise _cannot_start(submission, result["error"])
        seconds = time.monotonic() - began
        return ProcessResult(seconds, result["exit_code"], result["log"], box)
