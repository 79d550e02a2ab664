import fcntl
from pathlib import Path

import pytest

from fdbench import files
from fdbench.errors import FdbenchError
from fdbench.files import temporary_folder, write_atomically, write_once


@pytest.fixture(autouse=True)
def new_process() -> None:
    """Folders are cleared once in a process: each test is one."""
    files._remove_leftovers.cache_clear()


def _leftover(folder: Path) -> Path:
    path = folder / ".run.json.4711.fdbench"
    path.write_bytes(b"half of i")
    return path


def test_the_file_of_a_killed_process_is_removed_by_the_next_write(tmp_path: Path) -> None:
    left = _leftover(tmp_path)
    write_atomically(tmp_path / "other.json", "{}")
    assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


def test_the_file_of_a_living_process_stays(tmp_path: Path) -> None:
    left = _leftover(tmp_path)
    with left.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_atomically(tmp_path / "other.json", "{}")
        assert left.exists()


def test_a_living_process_that_begins_anew_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = _leftover(tmp_path)

    def renamed(file: object, how: int) -> None:
        monkeypatch.undo()  # between opening and locking it, its process ends it and begins anew
        left.replace(tmp_path / "run.json")
        left.write_bytes(b"begun")

    monkeypatch.setattr(fcntl, "flock", renamed)
    files._remove_leftovers(tmp_path)
    assert left.read_bytes() == b"begun"


def test_a_users_own_hidden_files_stay(tmp_path: Path) -> None:
    names = {".notes.tmp", ".fdbench", ".run.json.fdbench", "run.json.1.fdbench"}
    for name in names:
        (tmp_path / name).write_text("mine")
    write_atomically(tmp_path / "other.json", "{}")
    assert {path.name for path in tmp_path.iterdir()} == {*names, "other.json"}


def test_a_temporary_file_taken_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks: list[Path] = []

    def late(file: object, how: int) -> None:
        if not locks:  # before it has its lock, another process removes it
            locks.extend(tmp_path.glob(".*"))
            locks[0].unlink()

    monkeypatch.setattr(fcntl, "flock", late)
    write_atomically(tmp_path / "a.json", "whole")
    assert locks
    assert (tmp_path / "a.json").read_text() == "whole"


def test_what_is_written_once_is_never_replaced(tmp_path: Path) -> None:
    write_once(tmp_path / "a.json", "first")
    write_once(tmp_path / "a.json", "second")
    assert (tmp_path / "a.json").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "a.json", "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FdbenchError, match="The disk is full"):
        write_atomically(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_full_temporary_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, mode: int = 0) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.mkdir", full)
    words = r"No space left.*\n.*disk is full.*TMPDIR"
    with pytest.raises(FdbenchError, match=words), temporary_folder():
        pass
