"""Starts commands of fdbench in forked children, interrupts them, and judges what they leave."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from forks import Command
from jobs import Job, furnish
from killing import TESTS
from outcome import Outcome, differences, names_in, outcome_of
from taps import NEEDS_SPACE

# The exit code of each interruption (taps.py).
_CODES = {"kill": -9, "torn": -9, "term": -15, "int": 130, "late-int": 130, "full": 1}
HOWS = tuple(_CODES)
Started = tuple[int, Path]  # a process, and its folder


class Forks:
    """The process of forks.py."""

    def __init__(self) -> None:
        paths = os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])])
        plain = {k: v for k, v in os.environ.items() if not k.startswith("FDBENCH_")}
        env = {**plain, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        env |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        words = [sys.executable, str(Path(__file__).with_name("forks.py"))]
        self._process = subprocess.Popen(
            words, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def start(self, command: Command) -> int:
        """Starts a command; returns its process."""
        pid: int = self._ask(start=vars(command))["pid"]
        return pid

    def wait(self, pid: int) -> int | None:
        """Waits until a process ends or halts; returns its exit code, None if it halted."""
        code: int | None = self._ask(wait=pid)["code"]
        return code

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (None: halted), what it printed, its calls."""

    code: int | None
    stdout: str
    stderr: str
    calls: list[str]
    temporary: list[str]  # left in its own TMPDIR


@dataclass(frozen=True)
class Site:
    """A job's folder, `work`, and beside it a folder for each command that was started there."""

    forks: Forks
    job: Job
    folder: Path
    before: frozenset[str]

    @classmethod
    def furnished(cls, forks: Forks, job: Job, folder: Path) -> "Site":
        """Makes the folder, with what the job needs."""
        work = folder / "work"
        work.mkdir(parents=True)
        furnish(work, job)
        for words in job.first:
            assert cls(forks, Job(words), folder, frozenset()).run().code == 0
        shutil.copytree(work, folder / "spare", symlinks=True)
        return cls(forks, job, folder, frozenset(names_in(work)))

    def again(self) -> "Site":
        """Puts everything back as it was when it was furnished."""
        for path in self.folder.iterdir():
            if path.name != "spare":
                shutil.rmtree(path)
        shutil.copytree(self.folder / "spare", self.folder / "work", symlinks=True)
        return self

    def start(self, at: int | None = None, how: str = "", rank: int = 0, world: int = 1) -> Started:
        """Starts the job's command; `ended` takes what this returns."""
        home = next(one for n in count() if not (one := self.folder / f"command-{n}").exists())
        (home / "tmp").mkdir(parents=True)
        env = {"RANK": str(rank), "WORLD_SIZE": str(world)}
        words = self.job.words.split()
        command = Command(str(self.folder / "work"), str(home), words, env, at, how)
        pid = self.forks.start(command)
        return pid, home

    def ended(self, started: Started) -> Ended:
        """Waits for a command to end or to halt."""
        pid, home = started
        code = self.forks.wait(pid)
        calls, texts = home / "calls.json", [home / "stdout", home / "stderr"]
        stdout, stderr = (path.read_text() if path.exists() else "" for path in texts)
        left = sorted(path.name for path in (home / "tmp").glob("*"))
        seen = json.loads(calls.read_text()) if calls.exists() else []
        return Ended(code, stdout, stderr, seen, left)

    def run(self, at: int | None = None, how: str = "", rank: int = 0, world: int = 1) -> Ended:
        """Runs the job's command to its end."""
        return self.ended(self.start(at, how, rank, world))

    def outcome(self) -> Outcome:
        """What is in `work` now."""
        return outcome_of(self.folder / "work", set(self.before))


@dataclass(frozen=True)
class Calm:
    """A job that nothing interrupted: its calls, and what it left."""

    calls: list[str]
    outcome: Outcome

    @classmethod
    def of(cls, site: Site) -> "Calm":
        """Runs the job."""
        ended = site.again().run()
        assert ended.code == 0, ended.stderr
        return cls(ended.calls, site.outcome())

    def fits(self, at: int, how: str) -> bool:
        """Whether a call can be interrupted in that way.

        Ctrl-C within Python's own tempfile and shutil is left out: while they make or remove a
        temporary folder they leave it, or raise.
        """
        name, path = self.calls[at].split(maxsplit=1)
        if how in ("int", "late-int"):
            return "/command-" not in path
        return name == "write" if how == "torn" else name in NEEDS_SPACE or how != "full"


def wrong_after_the_same_command(site: Site, calm: Calm) -> list[str]:
    """Types the command once more, undisturbed; returns what is not as if it never was."""
    again = site.run()
    wrong = _wrong_words("again", again)
    if again.code != 0:
        return [*wrong, f"again: exit code {again.code}: {again.stderr[-600:]}"]
    wrong += [f"again: left in TMPDIR: {again.temporary}"] if again.temporary else []
    return [*wrong, *differences(calm.outcome, site.outcome())]


def _wrong_words(when: str, ended: Ended) -> list[str]:
    return [f"{when}: {ended.stderr[-1500:]}"] if "Traceback" in ended.stderr else []


def _wrong_end(ended: Ended, how: str) -> list[str]:
    wrong = _wrong_words(how, ended)
    if ended.code != _CODES[how]:
        wrong.append(f"exit code {ended.code}, not {_CODES[how]}: {ended.stderr[-600:]}")
    if how == "full" and "The disk is full" not in ended.stderr:
        wrong.append(f"does not say that the disk is full: {ended.stderr[-600:]}")
    if ended.temporary and _CODES[how] > 0:  # it ended by itself
        wrong.append(f"left in TMPDIR: {ended.temporary}")
    return wrong


def interrupted(site: Site, calm: Calm, at: int, how: str) -> list[str]:
    """Interrupts the job at a call and types it again; returns what went wrong, a line each."""
    ended = site.again().run(at, how)
    return _wrong_end(ended, how) + wrong_after_the_same_command(site, calm)


def two_at_once(site: Site, calm: Calm, at: int) -> list[str]:
    """Halts a process at a call while another does the same job, then lets it go on."""
    first = site.again().start(at, "stop")
    halted = site.ended(first)
    if halted.code is not None:
        return [f"was not halted: exit code {halted.code}"]
    second = site.run()
    os.kill(first[0], signal.SIGCONT)
    wrong = []
    for when, ended in (("the halted one", site.ended(first)), ("the other one", second)):
        wrong += _wrong_words(when, ended)
        refused = ended.code == 1 and "another process is" in ended.stderr
        if ended.code != 0 and not refused:
            wrong.append(f"{when}: exit code {ended.code}: {ended.stderr[-600:]}")
    return wrong + wrong_after_the_same_command(site, calm)


def several_processes(site: Site, calm: Calm, first: int, then: int) -> list[str]:
    """One process killed at call `first`, two at call `then`, three that end; then it is done."""
    site.again().run(first, "kill")
    wrong = []
    for world, how in ((2, "kill"), (3, "")):
        at = then if how else None
        started = [site.start(at, how, rank, world) for rank in range(world)]
        for rank, one in enumerate(started):
            ended = site.ended(one)
            wrong += _wrong_words(f"process {rank} of {world}", ended)
            if ended.code not in ((0, -9) if how else (0,)):
                wrong.append(f"process {rank} of {world}: {ended.code}: {ended.stderr[-600:]}")
    return wrong + list(differences(calm.outcome, site.outcome()))
