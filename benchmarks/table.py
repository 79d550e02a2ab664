"""Writes a benchmark's table, with hardware and versions."""

from collections.abc import Mapping
from pathlib import Path

import torch
from pandas import DataFrame

from fdbench.console import out, say
from fdbench.files import write_atomically
from fdbench.machine import environment

TABLES = Path(__file__).parent.parent / "results" / "benchmarks"


def show(line: Mapping[str, str | int | float]) -> None:
    """Prints one line of a table as soon as it is known."""
    out.print(", ".join(f"{key} {value}" for key, value in line.items()), soft_wrap=True)


def write(table: DataFrame, path: Path, device: str | torch.device, **versions: str) -> None:
    """Writes the table as CSV; `versions` are of packages that fdbench does not list itself."""
    kept = table.assign(**environment(torch.device(device)), **versions)
    write_atomically(path, kept.to_csv(index=False))
    say(f"written: {path.name}")
