"""Processes that train together, forked from one that has imported everything: they start at once.

`together(2, work, ...)` runs `work(...)` in two of them, as torchrun would, and returns what each
returned, or its exit code where it died.
"""

import os
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist
from test_adversarial import part

import fdbench.training.worker  # noqa: F401  for the children

_HOST = "127.0.0.1"
_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(["ranks", "test_adversarial", "fdbench.models.resnet"])


# Done once, before the children are forked: data read, and what an optimiser imports.
_READY = (
    part("train", 70),
    part("held-out", 20),
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1),
)


def _begin() -> None:
    """Starts the process that the others are forked from: it finds modules by PYTHONPATH alone."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    try:
        _FORKS.Process(target=int).start()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def _rank(env: dict[str, str], answers: Connection, work: Callable[..., Any], args: Any) -> None:
    os.environ.update(env)
    torch.set_num_threads(1)
    answers.send(work(*args))


def together(world: int, work: Callable[..., Any], *args: Any) -> list[Any]:
    """Runs a function of a module in `world` processes; returns their answers, or exit codes."""
    _begin()
    store = dist.TCPStore(  # type: ignore[attr-defined]
        _HOST, 0, is_master=True, wait_for_workers=False
    )
    shared = {"MASTER_ADDR": _HOST, "MASTER_PORT": str(store.port), "WORLD_SIZE": str(world)}
    shared["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    started = []
    for rank in range(world):
        here, there = _FORKS.Pipe()
        env = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        process = _FORKS.Process(target=_rank, args=(env, there, work, args))
        process.start()
        there.close()
        started.append((process, here))
    return [_answer(process, here) for process, here in started]


def _answer(process: Any, here: Connection) -> Any:
    try:
        answer = here.recv()
    except EOFError:
        process.join(60)
        return process.exitcode
    process.join(60)
    return answer
