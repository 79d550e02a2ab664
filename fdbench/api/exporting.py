"""Runs in forms that other programs read. Free of torch."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from pandas import DataFrame

from fdbench.api.reports import read_runs
from fdbench.errors import FdbenchError, unknown
from fdbench.files import write_atomically
from fdbench.printable import shown
from fdbench.reporting import robustbench_files
from fdbench.store import row_schema, run_schema

Files = Iterator[tuple[str, str | bytes]]  # paths below the output folder, and contents


def _rows(results: Path) -> DataFrame:
    rows = read_runs(results)
    if rows.empty:
        raise FdbenchError(f"no rows under {results}: nothing to export.")
    return rows


def _csv(results: Path) -> Files:
    yield "rows.csv", shown(_rows(results).to_csv(index=False))


def _parquet(results: Path) -> Files:
    rows = _rows(results)
    rows["image"] = rows["image"].astype(str)  # numbers in some data sets, names in others
    try:
        yield "rows.parquet", rows.to_parquet(index=False)
    except ImportError as reason:
        raise FdbenchError(
            "Parquet needs pyarrow: pip install 'fdbench[parquet]'.\nWithout it: fdbench export csv"
        ) from reason


def _robustbench(results: Path) -> Files:
    for path, content in robustbench_files(results):
        yield f"robustbench/{path}", content


def _schema(results: Path) -> Files:
    for name, schema in (("run", run_schema()), ("row", row_schema())):
        yield f"{name}.schema.json", json.dumps(schema, indent=2) + "\n"


EXPORTS: dict[str, Callable[[Path], Files]] = {
    "csv": _csv,
    "parquet": _parquet,
    "robustbench": _robustbench,
    "schema": _schema,
}


def export(kind: str, results: Path, output: Path) -> list[Path]:
    """Writes the runs under `results` in one of EXPORTS below `output`; returns the files.

    Raises BadValue for an unknown kind, FdbenchError if there is nothing to export.
    """
    if kind not in EXPORTS:
        raise unknown("export", kind, EXPORTS)
    written = []
    for name, content in EXPORTS[kind](results):
        write_atomically(output / name, content)
        written.append(output / name)
    return written
