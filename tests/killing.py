"""Processes that are killed midway, as a scheduler does it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fdbench.store.tensors import read_tensors

_HERE = Path(__file__).parent
# Every folder of the tests, so that a child process can import any test module.
TESTS = os.pathsep.join(map(str, [_HERE, *(path for path in _HERE.iterdir() if path.is_dir())]))
PATIENCE = 120.0  # seconds, for machines that are busy with other things


def killed(ready: Callable[[], bool], *words: str) -> None:
    """Starts Python with `words` and kills it as soon as `ready` says so; fails if it ended before.

    Modules beside the tests can be imported there.
    """
    env = {**os.environ, "PYTHONPATH": TESTS, "PYTHONDONTWRITEBYTECODE": "1"}
    deadline = time.monotonic() + PATIENCE
    with subprocess.Popen([sys.executable, *words], env=env, stdout=subprocess.DEVNULL) as child:
        try:
            while not ready():
                assert child.poll() is None, f"ended ({child.returncode}) before it was killed"
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            child.kill()


def lines_in(*files: Path) -> int:
    """Whole lines, of the files that are there already."""
    return sum(path.read_bytes().count(b"\n") for path in files if path.exists())


def steps_learnt(state: Path, steps: int) -> int:
    """How far the training of a resumable file is; `steps` make an epoch."""
    if not state.exists():
        return 0
    at = json.loads(read_tensors(state)[1]["at"])
    return steps * int(at["epoch"]) + int(at["step"])
