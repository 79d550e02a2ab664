"""A process that has imported everything, and forks a child for each command of fdbench.

    python forks.py

It reads requests and answers them, a line of JSON each: `{"start": {...}}` with the fields of
`Command` gives the child's `pid`; `{"wait": pid}` gives its exit code, or `null` where it was
halted. A child that takes `PATIENCE` seconds is ended by SIGALRM.
"""

import gc
import json
import os
import pkgutil
import signal
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import taps
import torch
from click.exceptions import Exit

PATIENCE = 100  # seconds
_SLOW = ("foolbox", "pyautoattack", "torchvision", "pandas", "matplotlib.pyplot", "scipy.stats")
_APART = ("fdbench.__main__", "fdbench.data.embedded", "fdbench.submission.supervisor")


@dataclass(frozen=True)
class Command:
    """A command line of fdbench in a folder, and where and how it is interrupted.

    `home` receives the texts it prints, the calls it made, and its temporary files.
    """

    folder: str
    home: str
    words: list[str]
    env: dict[str, str] = field(default_factory=dict)
    at: int | None = None
    how: str = ""


def warm_up() -> None:
    """Imports all of fdbench and what it imports when used; makes slow things quick.

    Figures are not drawn, as no I/O is in it; a training saves its state at each step, so that a
    kill can come at any.
    """
    import fdbench
    from fdbench.attacks.autoattack import attack
    from fdbench.attacks.autoattack.cascade import Effort
    from fdbench.machine import hardware
    from fdbench.reporting.figures import accuracy_against_attackers, accuracy_against_iterations
    from fdbench.training.generator import GeneratorLearner
    from fdbench.training.learner import Learner

    for name in _SLOW:
        import_module(name)
    for module in pkgutil.walk_packages(fdbench.__path__, "fdbench."):
        if not module.name.startswith(_APART):
            import_module(module.name)
    vars(attack)["STANDARD"] = Effort(iters=3, queries=8)
    hardware._revision = lambda: "this one"  # whatever else happens to the checkout meanwhile
    for figure in (accuracy_against_attackers, accuracy_against_iterations):
        vars(figure)["render"] = lambda *tables: {"png": b"drawn", "svg": b"drawn"}
    Learner.save_every = GeneratorLearner.save_every = 0.0
    torch.set_num_threads(1)


def _run(words: list[str]) -> int:
    """Runs the command line as the shell would; returns its exit code."""
    from fdbench.commands import main

    sys.argv = ["fdbench", *words]
    try:
        main(words, prog_name="fdbench")
    except (SystemExit, Exit) as end:
        code = end.code if isinstance(end, SystemExit) else end.exit_code
        return code if isinstance(code, int) else int(code is not None)
    except BaseException:  # noqa: BLE001  as Python ends: what a user would see
        traceback.print_exc()
    return 1


def _become(command: Command) -> None:
    """Makes this process the command: its folder, its environment, its output, its taps."""
    home = Path(command.home)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(home / name, os.O_WRONLY | os.O_CREAT, 0o666), stream)
    os.environ |= {**command.env, "TMPDIR": str(home / "tmp")}
    tempfile.tempdir = None  # else it is the parent's
    os.chdir(command.folder)
    signal.alarm(PATIENCE)


def _child(command: Command) -> None:
    _become(command)
    home = Path(command.home)
    tapped = taps.Taps((Path(command.folder), home / "tmp"), command.at, command.how)
    taps.install(tapped)
    code = _run(command.words)
    sys.stdout.flush()
    sys.stderr.flush()
    tapped.folders = ()
    (home / "calls.json").write_text(json.dumps(tapped.calls))
    os._exit(code)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    if "start" in request:
        pid = os.fork()
        if not pid:
            try:
                _child(Command(**request["start"]))
            finally:
                os._exit(99)
        return {"pid": pid}
    status = os.waitpid(request["wait"], os.WUNTRACED)[1]
    return {"code": None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)}


def main() -> None:
    """Answers requests until there are no more."""
    warm_up()
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
