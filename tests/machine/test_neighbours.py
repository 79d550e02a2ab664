"""Threads give way to other programs: what is measured, when they go over, and that they do."""

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from fdbench.machine.neighbours import Watch, teams_needed, waited

ROOT = Path(__file__).parents[2]
CORES = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
COUNTED = Path("/proc/self/schedstat").exists()
needs_counts = pytest.mark.skipif(not COUNTED, reason="this kernel counts no waiting (schedstat)")

# Alone, a thread that waits spins between two operations; one that sleeps uses no processor.
MEASURED = """
import time, torch
from fdbench.machine.neighbours import Idle
torch.set_num_threads(2)
x = torch.ones(1 << 17)
def used():
    began = time.process_time()
    for _ in range(100):
        x.add_(1)
        time.sleep(0.002)
    return time.process_time() - began
used()
spinning = used()
with Idle():
    used()
    sleeping = used()
print(spinning, sleeping, used())
"""


class Course:
    """A clock of whole seconds, and the waiting that each of them brings."""

    def __init__(self, *rates: float) -> None:
        self.rates, self.now = rates, 0

    def clock(self) -> float:
        return float(self.now)

    def lost(self) -> float:
        return sum(self.rates[: self.now])


@pytest.mark.parametrize(
    ("rates", "sleeping"),
    [
        ((0.02, 0.03), (False, False)),
        ((0.7, 0.7), (True, True)),
        ((0.7, 0.1, 0.02), (True, True, False)),  # between the two thresholds: as it was
        ((0.1, 0.7, 0.02, 0.9), (False, True, False, True)),
    ],
)
def test_threads_sleep_while_processors_are_missed(
    rates: tuple[float, ...], sleeping: tuple[bool, ...]
) -> None:
    course = Course(*rates)
    watch, seen = Watch(1, course.lost, course.clock), []
    for second in range(1, len(rates) + 1):
        course.now = second
        watch.look()
        seen.append(watch.sleeping)
    assert tuple(seen) == sleeping


@pytest.mark.parametrize(("threads", "cores"), [(2, 2), (8, 8), (2, 8), (3, 16), (16, 8)])
def test_the_idle_teams_are_just_enough(threads: int, cores: int) -> None:
    teams = teams_needed(threads, cores)
    assert threads + teams * (threads - 1) > cores
    assert teams == 1 or threads + (teams - 1) * (threads - 1) <= cores


@needs_counts
def test_waiting_is_counted() -> None:
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        before, end = waited(), monotonic() + 60
        while waited() - before < 0.01 and monotonic() < end:
            sum(range(10**5))
        assert waited() - before >= 0.01
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="GNU OpenMP is PyTorch's on Linux")
@pytest.mark.skipif(CORES < 2, reason="two threads on one core sleep anyway")
def test_beside_an_idle_team_waiting_threads_use_no_processor() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True, cwd=ROOT
    )
    spinning, sleeping, again = map(float, done.stdout.split())
    assert sleeping < 0.6 * spinning
    assert sleeping < 0.6 * again
