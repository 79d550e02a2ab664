"""The log of a training as a file: JSON lines, or CSV for a spreadsheet. Free of torch."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from fdbench.errors import BadValue
from fdbench.files import write_atomically
from fdbench.training.state import Entry


def _json_lines(log: Sequence[Entry]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in log)


def _csv(log: Sequence[Entry]) -> str:
    names = list(dict.fromkeys(name for entry in log for name in entry))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows(log)
    return text.getvalue()


FORMATS: dict[str, Callable[[Sequence[Entry]], str]] = {".csv": _csv, ".jsonl": _json_lines}


def check_log(path: Path) -> None:
    """Raises BadValue for a file whose ending names no format."""
    if path.suffix not in FORMATS:
        raise BadValue(f"--log {path} must end in {' or '.join(FORMATS)}.")


def write_log(path: Path, log: Sequence[Entry]) -> None:
    """Writes an entry for each epoch. The whole file each time: a resumed training repeats none."""
    write_atomically(path, FORMATS[path.suffix](log))
