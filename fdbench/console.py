"""The one place that talks to the terminal: results on stdout, all else on stderr (contract C7)."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from fdbench.printable import one_line, shown

PIPE_WIDTH = 100  # columns if there is no terminal
QUIET_SECONDS = 30.0  # between two lines of progress if there is no terminal
INTERRUPTED = 128 + signal.SIGINT  # the exit code that shells give to Ctrl-C
NOTEBOOK_SECONDS = 1.0  # between two updates of the one line in a notebook


class _Console(Console):
    """Prints every text, in tables too, as `shown` makes it."""

    def render_str(self, text: str, **how: Any) -> Text:
        """See rich."""
        return super().render_str(shown(text), **how)


def _console(stderr: bool) -> Console:
    """No markup: an interval, [50.3, 56.5], is plain text.

    With NO_COLOR a terminal is written to like a file, since rich leaves out colours alone and
    keeps bold text and moving bars.
    """
    width_known = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    width = None if width_known else PIPE_WIDTH
    plain = False if os.environ.get("NO_COLOR") else None  # None: rich finds out
    return _Console(
        stderr=stderr,
        width=width,
        force_terminal=plain,
        markup=False,
        highlight=False,
        emoji=False,
    )


out = _console(stderr=False)
err = _console(stderr=True)


def say(text: str) -> None:
    """Prints a message on stderr, without wrapping lines."""
    err.print(text, soft_wrap=True)


def warn(text: str) -> None:
    """Prints a warning on stderr, in yellow where the terminal has colours."""
    err.print(f"warning: {text}", soft_wrap=True, style="yellow")


@contextmanager
def stoppable() -> Iterator[None]:
    """Wraps resumable work: Ctrl-C ends it with a message and exit code 130."""
    try:
        yield
    except KeyboardInterrupt as reason:
        say("stopped. Run the same command to continue.")
        raise click.exceptions.Exit(INTERRUPTED) from reason


@runtime_checkable
class Advance(Protocol):
    """`advance(8, robust="53.4 %")`: 8 more are done; shows the fields as current values.

    `n` may be fractional; a field stays until it is given again.
    """

    def __call__(self, n: int | float, **fields: object) -> None: ...


def _rate(speed: float | None, unit: str) -> str:
    return f"{speed:.3g} {unit}/s" if speed else f"- {unit}/s"


def _status(fields: dict[str, object]) -> str:
    return one_line(", ".join(f"{key} {value}" for key, value in fields.items()))


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_rate(task.finished_speed or task.speed, task.fields["unit"]))


@contextmanager
def _bar(description: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        _Speed(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(description, total=total, completed=done, unit=unit, status="")

        shown: dict[str, object] = {}

        def advance(n: int | float, **fields: object) -> None:
            shown.update(fields)
            bar.update(task, advance=n, status=_status(shown))

        yield advance


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _print_line(text: str) -> None:
    err.print(text, soft_wrap=True)


def _overwrite_line(text: str) -> None:
    sys.stderr.write(f"\r{text}\x1b[K")  # notebooks obey both, and need no widgets for it
    sys.stderr.flush()


@contextmanager
def _notebook(description: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    with _lines(description, total, unit, done, NOTEBOOK_SECONDS, _overwrite_line) as advance:
        yield advance
    _overwrite_line("")


@contextmanager
def _lines(
    description: str,
    total: int,
    unit: str,
    done: int,
    pause: float = QUIET_SECONDS,
    write: Callable[[str], None] = _print_line,
) -> Iterator[Advance]:
    began = printed = time.monotonic()
    count: int | float = done
    shown: dict[str, object] = {}

    def advance(n: int | float, **fields: object) -> None:
        nonlocal printed, count
        count += n
        shown.update(fields)
        now = time.monotonic()
        if now - printed < pause:
            return
        printed = now
        speed = (count - done) / (now - began)
        left = f", {_span((total - count) / speed)} to go" if speed else ""
        percent = 100 * count / total if total else 100
        write(
            f"{description}: {count:.0f}/{total} {unit} ({percent:.0f} %), {_rate(speed, unit)}, "
            f"{_span(now - began)} elapsed{left}" + (f", {_status(shown)}" if shown else "")
        )

    yield advance


@contextmanager
def progress(description: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
    """A bar on a terminal, a line that changes in a notebook, else a line each half minute.

    `done` counts the work of earlier sessions, which does not enter the speed.
    """
    description = one_line(description)
    kind = _bar if err.is_terminal else _notebook if err.is_jupyter else _lines
    with kind(description, total, unit, done) as advance:
        yield advance
