"""PyTorch's threads beside other programs: waiting ones spin only where nobody else is kept out.

Threads meet at a barrier after each operation. GNU OpenMP lets the first ones spin there for up to
3 ms, which is fastest on an idle machine. Beside another program the thread that it interrupts
can't move to a processor on which a thread spins, so all wait for it: one neighbour on two cores
took 61 % of a training's speed, three took 82 % (benchmarks/neighbours.py). With threads that
sleep, they took no more than their share; alone, sleeping costs from nothing to a quarter.

libgomp goes over to sleeping by itself while a process has more OpenMP threads than processors. A
team that does nothing is enough, and its end switches back. No result depends on it: the number of
threads that compute stays the same.
"""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from math import ceil
from pathlib import Path
from time import monotonic

import torch

_TASKS = Path("/proc/self/task")
_EVERY = 1.0  # seconds between two looks
# Seconds a second that our threads, together, could run and did not. Alone: 0.01 to 0.03; beside
# one neighbour 0.7, beside three 0.9 to 1.2, whether they spin or sleep.
_BUSY, _FREE = 0.15, 0.08
_SPLIT = 1 << 20  # values in an operation that PyTorch divides among its threads

_watched = threading.Lock()


def waited() -> float:
    """Seconds for which this process's threads, together, were ready and had no processor."""
    total = 0
    for task in _TASKS.iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):  # the thread has ended
            continue
    return total / 1e9


class Idle:
    """A team of threads that does nothing: while it is open, threads at a barrier sleep."""

    def __enter__(self) -> None:
        self._end, begun = threading.Event(), threading.Event()

        def hold() -> None:
            torch.ones(_SPLIT).add_(1)  # starts this thread's own team
            begun.set()
            self._end.wait()

        self._thread = threading.Thread(target=hold, name="fdbench idle team", daemon=True)
        self._thread.start()
        begun.wait()

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()


def teams_needed(threads: int, processors: int) -> int:
    """How many idle teams give a process more threads than processors."""
    return max(1, ceil((processors - threads + 1) / (threads - 1)))


class Watch:
    """Decides, look by look, whether threads should sleep at barriers."""

    def __init__(self, teams: int, lost: Callable[[], float], clock: Callable[[], float]) -> None:
        self._teams, self._lost, self._clock = teams, lost, clock
        self._open = ExitStack()
        self._then, self._had = clock(), lost()
        self.sleeping = False

    def look(self) -> None:
        """Compares what was lost since the last look with the time since then."""
        now, had = self._clock(), self._lost()
        rate = (had - self._had) / max(now - self._then, 1e-9)
        self._then, self._had = now, had
        if not self.sleeping and rate > _BUSY:
            self.sleeping = True
            for _ in range(self._teams):
                self._open.enter_context(Idle())
        elif self.sleeping and rate < _FREE:
            self.sleeping = False
            self._open.close()


def _available() -> bool:
    """Whether this system counts how long threads wait, and this PyTorch uses GNU OpenMP."""
    chosen = "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ
    gnu = "libgomp" in Path("/proc/self/maps").read_text() if sys.platform == "linux" else False
    return gnu and not chosen and (_TASKS.parent / "schedstat").exists()


def give_way() -> None:
    """Watches for neighbours from now on, in the background; once in a process.

    Does nothing with one thread, without Linux's counts, where PyTorch uses another OpenMP, or
    where OMP_WAIT_POLICY or GOMP_SPINCOUNT says how threads are to wait.
    """
    threads = torch.get_num_threads()
    if threads == 1 or not _available() or not _watched.acquire(blocking=False):
        return
    teams = teams_needed(threads, len(os.sched_getaffinity(0)))
    watch = Watch(teams, waited, monotonic)

    def forever() -> None:
        never = threading.Event()
        while not never.wait(_EVERY):
            watch.look()

    threading.Thread(target=forever, name="fdbench neighbours", daemon=True).start()
