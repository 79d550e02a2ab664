"""Processes killed midway, as by a scheduler."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fdbench.store.tensors import read_tensors

_FOLDER = Path(__file__).parent
# Every folder of the tests, so that a child process can import any test module.
TESTS = os.pathsep.join(map(str, [_FOLDER, *(path for path in _FOLDER.iterdir() if path.is_dir())]))
PATIENCE = 120.0  # seconds, for machines that are busy with other things


def killed(ready: Callable[[], bool], *words: str) -> None:
    """Starts Python with `words` and kills it once `ready()` is true; fails if it ends before.

    The child can import every test module.
    """
    paths = os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
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
    """Counts the whole lines of the files that exist."""
    return sum(path.read_bytes().count(b"\n") for path in files if path.exists())


def steps_learnt(state: Path, steps: int) -> int:
    """Steps done by a resumable training, with `steps` in an epoch."""
    if not state.exists():
        return 0
    at = json.loads(read_tensors(state)[1]["at"])
    return steps * int(at["epoch"]) + int(at["step"])
