"""Runs are moved out of reports, or removed, unless a process writes them."""

from pathlib import Path

import pytest
from madeup import info, row, store

from fdbench.errors import FdbenchError
from fdbench.store import RunFolder, Workspace, archive_run, read_runs, remove_run


def test_an_archived_run_is_kept_out_of_reports_and_may_be_made_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for number in ("", "-2"):
        folder = store(tmp_path, info(images=1), [row(0, None, (10, 100))])
        new = archive_run(workspace, folder)
        assert new == tmp_path / "archive" / f"{folder.name}{number}"
        assert (new / "rows-0.jsonl").is_file()
        assert read_runs(workspace) == []


def test_a_run_is_removed(tmp_path: Path) -> None:
    remove_run(store(tmp_path, info(images=1), [row(0, None, (10, 100))]))
    assert read_runs(tmp_path) == []


def test_a_run_in_use_is_left_alone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with RunFolder.open(workspace, info()) as run:
        with pytest.raises(FdbenchError, match="in use"):
            archive_run(workspace, run.path)
        with pytest.raises(FdbenchError, match="in use"):
            remove_run(run.path)
        assert run.path.is_dir()
