"""What the taps see of writing a file, and what is on the disk after each interruption."""

import subprocess
import sys
from pathlib import Path

import pytest

_WRITES = """
import sys
from pathlib import Path
from taps import Taps, install
folder, at, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
taps = Taps([folder], at, how)
install(taps)
from fdbench.files import write_atomically
from fdbench.errors import FdbenchError
from fdbench.store.journal import Journal
try:
    with Journal(folder / "rows") as journal:
        journal.append_lines([b"0123456789"])
    write_atomically(folder / "whole", "0123456789")
except FdbenchError as reason:
    print(reason.message)
taps.folders = ()
print(*(call.split("/")[0] + Path(call).suffix for call in taps.calls))
"""
_CALLS = "mkdir create flock open open write fsync close mkdir create.fdbench flock.fdbench "
_CALLS += "write.fdbench fsync.fdbench replace close.fdbench unlink.fdbench open fsync close"


def _run(folder: Path, at: int = -1, how: str = "") -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", _WRITES, str(folder), str(at), how]
    where = str(Path(__file__).parent)
    return subprocess.run(words, cwd=where, capture_output=True, text=True)


def test_every_call_of_a_journal_and_of_a_file_is_seen(tmp_path: Path) -> None:
    done = _run(tmp_path)
    assert done.stdout.replace(" .", ".").split() == _CALLS.split(), done.stderr


@pytest.mark.parametrize(("at", "name"), [(5, "rows"), (11, ".whole")])
def test_a_torn_write_is_half_on_the_disk(tmp_path: Path, at: int, name: str) -> None:
    assert _run(tmp_path, at, "torn").returncode == -9
    (torn,) = tmp_path.glob(f"{name}*")
    assert torn.read_bytes() == b"01234"


def test_a_full_disk_stays_full(tmp_path: Path) -> None:
    done = _run(tmp_path, 3, "full")
    assert "The disk is full" in done.stdout
    assert (tmp_path / "rows").read_bytes() == b""
    assert not (tmp_path / "whole").exists()


def test_a_signal_comes_before_its_call(tmp_path: Path) -> None:
    assert _run(tmp_path, 5, "term").returncode == -15
    assert (tmp_path / "rows").read_bytes() == b""
