"""Runs one program and lets nothing of it remain: `python -I -S supervisor.py REQUEST`.

A process of its own between fdbench and a submission, with the submission's clean environment, so
that its parent has no other to be read. It ends the program and everything that the program has
started at the time limit, when it ends, and when fdbench is gone, killed or not: stdin is then at
its end. Only the end of the program's output is kept, in memory. The result is JSON on
stdout. Standard library only: it must start in an instant.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time

LOG_TAIL = 2000  # bytes of the program's output that are kept
LARGEST_FILE = 1 << 32  # bytes that one of its files may have
MOST_PROCESSES = 4096  # of this user, threads counted: many times what PyTorch starts
_SUBREAPER = 36  # prctl: orphans below become children of this process
_POLL = 0.02  # seconds
_PATIENCE = 5.0  # seconds for the killed to go


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _at_most(kind: int, value: int) -> None:
    """Lowers a limit, for good."""
    hard = resource.getrlimit(kind)[1]
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (most, most))


def _limits() -> None:
    _at_most(resource.RLIMIT_CORE, 0)
    _at_most(resource.RLIMIT_FSIZE, LARGEST_FILE)
    if sys.platform == "linux":  # elsewhere the two mean other things
        _at_most(resource.RLIMIT_NPROC, MOST_PROCESSES)
        # Of each process: its own memory, not the addresses that CUDA reserves.
        _at_most(resource.RLIMIT_DATA, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _parents() -> dict[int, int]:
    """The parent of each process, where there is a /proc."""
    parents = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if name.isdigit():
            # A process may end meanwhile.
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rsplit(b")", 1)[1].split()[1])
    return parents


def _below(process: int) -> set[int]:
    """All processes that descend from this one."""
    parents, below, new = _parents(), set[int](), {process}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - below
        below |= new
    return below


def _end(program: subprocess.Popen[bytes]) -> None:
    """Kills the program's session and all its descendants, daemons too, and waits for them."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(program.pid, signal.SIGKILL)
        below = _below(os.getpid())
        for process in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        program.poll()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if program.returncode is not None and not below:
            return
        time.sleep(_POLL)


def _watch(program: subprocess.Popen[bytes], limit_s: float) -> tuple[int | None, bytes]:
    """Waits for the program; returns its exit code, None at the time limit, and its output."""
    assert program.stdout is not None
    deadline, log = time.monotonic() + limit_s, b""
    sources = [program.stdout, sys.stdin]
    while program.poll() is None and time.monotonic() < deadline:
        for source in select.select(sources, [], [], _POLL)[0]:
            read = os.read(source.fileno(), 1 << 16)
            if not read and source is sys.stdin:  # fdbench is gone
                return None, log
            if not read:
                sources.remove(source)
            elif source is program.stdout:
                log = (log + read)[-LOG_TAIL:]
    code = program.returncode
    _end(program)  # what it left behind may hold the pipe open
    while select.select([program.stdout], [], [], 0)[0]:
        read = os.read(program.stdout.fileno(), 1 << 16)
        if not read:
            break
        log = (log + read)[-LOG_TAIL:]
    return code, log


def _stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def main() -> None:
    """Runs {"command", "cwd", "limit_s"} and writes {"exit_code", "log"} or {"error"}."""
    request = json.loads(sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _stop)
    _adopt_orphans()
    try:
        program = subprocess.Popen(
            request["command"],
            cwd=request["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
            preexec_fn=_limits,
        )
    except OSError as reason:
        sys.stdout.write(json.dumps({"error": reason.strerror}))
        return
    try:
        code, log = _watch(program, request["limit_s"])
    finally:
        _end(program)
    sys.stdout.write(json.dumps({"exit_code": code, "log": log.decode(errors="replace")}))


if __name__ == "__main__":
    main()
