"""`fdbench train --nproc N`: N processes of this machine that train together, watched by this one.

torchrun does the same for several machines; this needs no words about rendezvous, shows one error
instead of one from each process, and nothing that it started outlives it.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import click
import torch.distributed as dist

from fdbench.console import INTERRUPTED
from fdbench.errors import FdbenchError
from fdbench.training.team import LostContact

_HOST = "127.0.0.1"
_GRACE = 10.0  # seconds between asking the others to end, and ending them
_PR_SET_PDEATHSIG = 1  # prctl: the signal that a process gets when the one that started it ends


@dataclass(frozen=True)
class _Rank:
    """A started process, and what it says; the first one's goes straight to the terminal."""

    rank: int
    process: subprocess.Popen[bytes]
    said: IO[bytes] | None

    @property
    def code(self) -> int | None:
        return self.process.poll()

    def words(self) -> str:
        if self.said is None:
            return ""
        self.said.seek(0)
        return self.said.read().decode(errors="replace").strip()


def launch(world: int, module: str, arguments: Mapping[str, Any]) -> None:
    """Runs `python -m module`, with the arguments as JSON, in `world` processes; waits for them.

    Raises FdbenchError with the error of the one that failed first, or was killed; Exit where that
    is the first process, which has printed its own. KeyboardInterrupt ends them all.
    """
    store = dist.TCPStore(  # type: ignore[attr-defined]
        _HOST, 0, is_master=True, wait_for_workers=False
    )
    words = [sys.executable, "-P", "-m", module, json.dumps(arguments)]
    with _started(words, world, store.port) as ranks:
        _wait(ranks)


@contextmanager
def _started(words: Sequence[str], world: int, port: int) -> Iterator[list[_Rank]]:
    importable = os.pathsep.join(path or os.getcwd() for path in sys.path)
    shared = {"MASTER_ADDR": _HOST, "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    # The store is this process's, as torchrun's is its agent's.
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "PYTHONPATH": importable}
    if "OMP_NUM_THREADS" not in os.environ:
        shared["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // world))
    ranks: list[_Rank] = []
    try:
        for rank in range(world):
            said = tempfile.TemporaryFile() if rank else None  # noqa: SIM115  closed below
            env = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stderr=said)
            ranks.append(_Rank(rank, process, said))
        yield ranks
    finally:
        _end(ranks)


def _end(ranks: Sequence[_Rank]) -> None:
    for one in ranks:
        if one.code is None:
            one.process.terminate()
    for one in ranks:
        try:
            one.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
        if one.said is not None:
            one.said.close()


def _wait(ranks: Sequence[_Rank]) -> None:
    """Returns when all have succeeded; raises for the first that has not."""
    while any(one.code is None for one in ranks):
        time.sleep(0.05)
        failed = [one for one in ranks if one.code]
        if failed:
            # Those that only lost contact follow at once: the one that failed may come later. So
            # may the first process with the same error, which it prints itself.
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline and (
                ranks[0].code is None or all(_lost(one) for one in failed)
            ):
                time.sleep(0.05)
                failed = [one for one in ranks if one.code]
            break
    failed = [one for one in ranks if one.code]
    if failed:
        raise _reason(min(failed, key=lambda one: (_lost(one), one.rank)), len(ranks))


def _lost(one: _Rank) -> bool:
    return one.code == LostContact.exit_code


def _reason(one: _Rank, world: int) -> BaseException:
    assert one.code is not None
    if one.code in (INTERRUPTED, -signal.SIGINT):
        return KeyboardInterrupt()
    who = f"process {one.rank} of {world}"
    again = "The same command continues from the last saved state, with any number of processes."
    if one.code < 0:
        return FdbenchError(f"{who} was ended by {signal.Signals(-one.code).name}.\n{again}")
    if one.rank == 0:  # it has printed its error
        return click.exceptions.Exit(one.code)
    return FdbenchError(f"{who} failed: {one.words() or 'it said nothing'}\n{again}")


def end_with_parent() -> None:
    """Ends this process when the one that started it ends, however that ends; on Linux only."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
