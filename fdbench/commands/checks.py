"""Verdicts of the doctor and of verify, as a table."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from fdbench.console import out
from fdbench.store import Check

_STYLES = {"pass": "green", "fail": "bold red", "skipped": "dim"}


def show_checks(checks: Iterable[Check]) -> None:
    """Prints a line for each check: its verdict and its finding."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("check", "verdict", "found"):
        table.add_column(column, overflow="fold")
    for check in checks:
        table.add_row(check.check, Text(check.verdict, _STYLES[check.verdict]), check.found)
    out.print(table)
