"""Committed tables are what the report makes of the committed rows, byte for byte."""

import tarfile
from pathlib import Path

import pytest

from fdbench.reporting.report import write_report

RESULTS = Path(__file__).parent.parent.parent / "results"
ARCHIVES = sorted(RESULTS.glob("*/runs.tar.xz"))
TEXT = {".csv", ".md", ".tex"}  # pictures follow matplotlib's version, the page its library's


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.parent.name)
def test_committed_tables_are_made_of_the_committed_rows(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as rows:
        rows.extractall(tmp_path, filter="data")
    write_report(tmp_path, None)
    made = {path.name: path.read_text() for path in tmp_path.iterdir() if path.suffix in TEXT}
    there = archive.parent.iterdir()
    assert made == {path.name: path.read_text() for path in there if path.suffix in TEXT}


def test_there_are_committed_rows() -> None:
    assert ARCHIVES
