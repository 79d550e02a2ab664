from pathlib import Path

from fdbench.store.lock import clear_lock, locked


def test_a_lock_that_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".net.lock"
    left.touch()
    clear_lock(tmp_path / "net.safetensors")
    assert not left.exists()


def test_a_lock_that_is_held_stays(tmp_path: Path) -> None:
    with locked(tmp_path / "net.safetensors", "training"):
        clear_lock(tmp_path / "net.safetensors")
        assert (tmp_path / ".net.lock").exists()
    assert list(tmp_path.iterdir()) == []
