import fcntl
import os
from pathlib import Path

from madeup import info, row, store

from fdbench.store import RunPaths
from fdbench.store.leftovers import clearing_run

STRAY, KEPT = (f"{digit * 32}.safetensors" for digit in "5a")


def _littered(results: Path, images: int) -> RunPaths:
    """A run with a row of one image, and a shard and a scratch file of a killed process."""
    paths = RunPaths(store(results, info(images=images), [row(0, None, (10, 100))]))
    paths.images.mkdir()
    for path in (paths.images / STRAY, paths.scratch(1)):
        path.write_bytes(b"")
    return paths


def _left(paths: RunPaths) -> list[str]:
    found = [*paths.images.iterdir(), *paths.all_scratch()]
    return sorted(path.name for path in found)


def test_scratch_files_of_an_unfinished_run_stay(tmp_path: Path) -> None:
    paths = _littered(tmp_path, images=2)
    with clearing_run(paths):
        assert _left(paths) == [STRAY, "scratch-1"]
    assert _left(paths) == ["scratch-1"]


def test_those_of_a_finished_run_go(tmp_path: Path) -> None:
    paths = _littered(tmp_path, images=1)
    with clearing_run(paths):
        pass
    assert _left(paths) == []


def test_nothing_is_removed_while_another_process_is_at_work(tmp_path: Path) -> None:
    paths = _littered(tmp_path, images=1)
    handle = os.open(paths.folder, os.O_RDONLY)  # as another session's
    fcntl.flock(handle, fcntl.LOCK_SH)
    with clearing_run(paths):
        pass
    assert _left(paths) == [STRAY, "scratch-1"]
    os.close(handle)
    with clearing_run(paths):
        pass
    assert _left(paths) == []


def test_a_shard_that_a_row_names_stays(tmp_path: Path) -> None:
    named = {**row(0, None, (10, 100)), "shard": KEPT}
    paths = RunPaths(store(tmp_path, info(images=1), [named]))
    paths.images.mkdir()
    (paths.images / KEPT).write_bytes(b"")
    with clearing_run(paths):
        pass
    assert _left(paths) == [KEPT]


def test_a_users_own_files_stay(tmp_path: Path) -> None:
    paths = _littered(tmp_path, images=1)
    (paths.images / "notes.txt").write_text("mine")
    (paths.images / "mine.safetensors").write_text("mine")
    with clearing_run(paths):
        pass
    assert _left(paths) == ["mine.safetensors", "notes.txt"]
