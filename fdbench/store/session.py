"""The time, and the command line that started this process. Free of torch."""

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path


def now() -> str:
    """The time in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def command_line() -> str:
    """The command as it can be typed again."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":  # of `python -m fdbench`
        program = program.parent
    return shlex.join([program.name, *sys.argv[1:]])
