"""Progress is a bar on a terminal and next to silent elsewhere."""

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from fdbench import console
from fdbench.console import progress


def quiet(monkeypatch: pytest.MonkeyPatch, step: float) -> io.StringIO:
    """Makes stderr a file, which it returns, and each look at the clock `step` seconds later."""
    file = io.StringIO()
    clock = iter(range(10**6))
    monkeypatch.setattr(console, "err", Console(file=file, width=100, markup=False))
    monkeypatch.setattr("fdbench.console.time.monotonic", lambda: step * next(clock))
    return file


def test_a_file_gets_a_line_each_half_minute_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    file = quiet(monkeypatch, step=5.0)
    with progress("pgd", 1000, "images") as advance:
        for _ in range(100):
            advance(7.5, robust="53.4 %")
            advance(2.5)
    lines = file.getvalue().splitlines()
    assert len(lines) == 33
    assert lines[0] == (
        "pgd: 30/1000 images (3 %), 1 images/s, 0:00:30 elapsed, 0:16:10 to go, robust 53.4 %"
    )


def test_a_short_job_writes_nothing_to_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file = quiet(monkeypatch, step=1.0)
    with progress("pgd", 20, "images") as advance:
        for _ in range(20):
            advance(1)
    assert file.getvalue() == ""


def test_an_earlier_sessions_work_counts_as_done_but_not_as_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = quiet(monkeypatch, step=40.0)
    with progress("pgd", 1000, "images", done=900) as advance:
        advance(40)
    assert file.getvalue() == (
        "pgd: 940/1000 images (94 %), 1 images/s, 0:00:40 elapsed, 0:01:00 to go\n"
    )


def test_a_terminal_gets_a_bar_with_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=120, markup=False)
    monkeypatch.setattr(console, "err", terminal)
    with progress("pgd [a]", 10, "images") as advance:
        advance(10, robust="50 %")
    for text in ("pgd [a]", "10/10", "100%", "images/s", "robust 50 %"):
        assert text in file.getvalue()


def test_a_notebook_gets_one_line_that_changes_each_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet(monkeypatch, step=0.5)
    monkeypatch.setattr(console, "err", Console(file=io.StringIO(), force_jupyter=True))
    with progress("pgd", 10, "images") as advance:
        for _ in range(10):
            advance(1)
    text = capsys.readouterr().err
    assert "\n" not in text
    assert text.count("\r") == 5 + 1, "an update a second, and the last one clears the line"
    assert "pgd: 10/10 images (100 %)" in text
    assert text.endswith("\r\x1b[K")


_BAR = """
from fdbench.console import err, out, progress
with progress("pgd", 10, "images") as advance:
    advance(10)
err.print("warning", style="bold yellow")
out.print("result", style="bold")
"""


def _in_a_terminal(code: str, **variables: str) -> str:
    """Runs Python in a pseudo-terminal; returns what it writes there."""
    main, side = os.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", **variables}
    subprocess.run([sys.executable, "-c", code], stdout=side, stderr=side, env=environment)
    os.close(side)
    with os.fdopen(main, "rb") as terminal:
        return terminal.read1(2**16).decode()


def test_no_color_leaves_no_escape_in_a_terminal() -> None:
    text = _in_a_terminal(_BAR, NO_COLOR="1")
    assert "result" in text
    assert "\x1b" not in text
    assert "\x1b" in _in_a_terminal(_BAR, NO_COLOR="")
