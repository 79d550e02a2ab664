"""A side of a benchmark in a process of its own, as its users run it.

What fdbench sets for the whole process, such as the memory allocator, would speed up the others.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any


@contextmanager
def worker(work: Callable[..., Callable[[Any], Any]], *args: Any) -> Iterator[Callable[[Any], Any]]:
    """Starts a process; yields a function that asks it and waits for the answer.

    Args:
        work: makes, from `args` and in the new process, the function that answers.
    """
    mine, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(its, work, args), daemon=True
    )
    process.start()
    its.close()  # so that the end of the process ends `recv`

    def ask(question: Any) -> Any:
        mine.send(question)
        return mine.recv()

    yield ask
    mine.send(None)
    process.join()


def _serve(pipe: Connection, work: Callable[..., Callable[[Any], Any]], args: Any) -> None:
    answer = work(*args)
    while (question := pipe.recv()) is not None:
        pipe.send(answer(question))
