"""The one place that talks to the terminal: results on stdout, all else on stderr (contract C7)."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

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

PIPE_WIDTH = 100  # columns where no terminal says how many
QUIET_SECONDS = 30.0  # between two lines of progress where there is no terminal


def _console(stderr: bool) -> Console:
    """No markup, since an interval, [50.3, 56.5], is text; rich honours NO_COLOR by itself."""
    told = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    width = None if told else PIPE_WIDTH
    return Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


out = _console(stderr=False)
err = _console(stderr=True)


def say(text: str) -> None:
    """A message to the person, on stderr; lines are left whole."""
    err.print(text, soft_wrap=True)


@contextmanager
def stoppable() -> Iterator[None]:
    """Around work that its command continues: Ctrl-C ends it with that news, and exit code 1."""
    try:
        yield
    except KeyboardInterrupt as reason:
        say("stopped. The same command continues where this one was.")
        raise click.exceptions.Exit(1) from reason


class Advance(Protocol):
    """`advance(8, robust="53.4 %")`: 8 more are done, and this is how it stands.

    `n` may be a part of one; fields stay until they are told anew.
    """

    def __call__(self, n: int | float, **fields: object) -> None: ...


def _rate(speed: float | None, unit: str) -> str:
    return f"{speed:.3g} {unit}/s" if speed else f"- {unit}/s"


def _told(fields: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in fields.items())


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
        TextColumn("{task.fields[told]}", markup=False),
    )
    with Progress(*columns, console=err) as bar:
        task = bar.add_task(description, total=total, completed=done, unit=unit, told="")

        told = ""

        def advance(n: int | float, **fields: object) -> None:
            nonlocal told
            told = _told(fields) or told
            bar.update(task, advance=n, told=told)

        yield advance


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def _lines(description: str, total: int, unit: str, done: int) -> Iterator[Advance]:
    began = said = time.monotonic()
    count: int | float = done
    told = ""

    def advance(n: int | float, **fields: object) -> None:
        nonlocal said, count, told
        count += n
        told = _told(fields) or told
        now = time.monotonic()
        if now - said < QUIET_SECONDS:
            return
        said = now
        speed = (count - done) / (now - began)
        left = f", {_span((total - count) / speed)} to go" if speed else ""
        percent = 100 * count / total if total else 100
        err.print(
            f"{description}: {count:.0f}/{total} {unit} ({percent:.0f} %), {_rate(speed, unit)}, "
            f"{_span(now - began)} elapsed{left}" + (f", {told}" if told else ""),
            soft_wrap=True,
        )

    yield advance


@contextmanager
def progress(description: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
    """A bar on a terminal; elsewhere a plain line every half minute at most, on stderr.

    `done` is what an earlier session did: it counts as done, not as speed.
    """
    kind = _bar if err.is_terminal else _lines
    with kind(description, total, unit, done) as advance:
        yield advance
