"""Submissions that try to stay, to see, to reach or to fill what is not theirs."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from killing import TESTS
from test_submission import write_script

from fdbench.errors import FdbenchError
from fdbench.submission import fingerprint, open_submission, sandbox
from fdbench.submission.process import ProcessResult, execute
from fdbench.submission.tree import copy

BOXES = ["none", sandbox.kind()] if sandbox.kind() != "none" else ["none"]
DAEMON = """
(setsid sh -c 'while :; do echo x >> "$0/beat"; sleep 0.02; done' "$2" >/dev/null 2>&1 &)
sleep 0.2
"""


def run(tmp_path: Path, script: str, limit_s: float = 20.0) -> ProcessResult:
    """Runs a script with a folder for input and one for output."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir(exist_ok=True)
    submission = open_submission(write_script(tmp_path / "theirs", script), "attack")
    places = {"inputs": tmp_path / "in", "output": tmp_path / "out"}
    return execute(submission, list(map(str, places.values())), limit_s, **places)


@pytest.fixture(params=BOXES)
def box(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sandbox, "kind", lambda: request.param)
    return str(request.param)


@pytest.fixture
def real_box() -> str:
    if sandbox.kind() == "none":
        pytest.skip("this system has neither bubblewrap nor unshare")
    return sandbox.kind()


def grows(path: Path) -> bool:
    before = path.stat().st_size if path.exists() else 0
    time.sleep(0.2)
    return path.exists() and path.stat().st_size > before


def test_a_daemon_ends_with_the_run_and_the_result_names_the_sandbox(
    tmp_path: Path, box: str
) -> None:
    result = run(tmp_path, DAEMON)
    assert (result.exit_code, result.sandbox) == (0, box)
    assert (tmp_path / "out" / "beat").stat().st_size > 0
    assert not grows(tmp_path / "out" / "beat")


def test_a_daemon_ends_at_the_time_limit_too(tmp_path: Path, box: str) -> None:
    assert run(tmp_path, f"{DAEMON} sleep 60", limit_s=0.5).timed_out
    assert not grows(tmp_path / "out" / "beat")


FDBENCH = """
import sys
from pathlib import Path
from fdbench.submission import sandbox
sandbox.kind = lambda: sys.argv[2]
from test_confinement import DAEMON, run
run(Path(sys.argv[1]), DAEMON + "sleep 60")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nothing_outlives_fdbench(tmp_path: Path, box: str, number: signal.Signals) -> None:
    words = [sys.executable, "-c", FDBENCH, str(tmp_path), box]
    paths = os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])])
    beat, deadline = tmp_path / "out" / "beat", time.monotonic() + 60
    with subprocess.Popen(
        words, env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.DEVNULL
    ) as child:
        while not beat.exists():
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(number)
    time.sleep(0.3)
    assert not grows(beat)


def test_a_long_log_takes_no_disk_and_keeps_its_end(tmp_path: Path, box: str) -> None:
    result = run(tmp_path, "head -c 300000000 /dev/zero | tr '\\0' x; echo the end")
    assert result.log.endswith("x" * 1000 + "the end\n")
    assert len(result.log) == 2000


def test_our_environment_is_nowhere_in_its_family(
    tmp_path: Path, box: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FDBENCH_SECRET", "ours")
    result = run(tmp_path, "cat /proc/$PPID/environ /proc/self/environ | tr '\\0' '\\n'")
    assert "PATH=" in result.log
    assert "FDBENCH_SECRET" not in result.log


def test_a_file_has_a_largest_size(tmp_path: Path, box: str) -> None:
    result = run(tmp_path, 'ulimit -c -f; truncate -s 5G "$2/big" || echo refused')
    assert "refused" in result.log
    assert not (tmp_path / "out" / "big").exists() or (
        (tmp_path / "out" / "big").stat().st_size <= 1 << 32
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_memory_and_processes_have_a_limit(tmp_path: Path, box: str) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    script = (
        "ulimit -S -d; python3 -c 'import resource as r; print(*r.getrlimit(r.RLIMIT_NPROC))'\n"
        f"python3 -c 'bytearray({memory + (1 << 30)})'"
    )
    result = run(tmp_path, script)
    assert result.exit_code == 1
    first, processes, *rest = result.log.splitlines()
    assert int(first) * 1024 <= memory
    assert max(map(int, processes.split())) <= 4096
    assert rest[-1] == "MemoryError"


@pytest.mark.usefixtures("real_box")
def test_the_sandbox_has_no_network_and_no_other_processes(tmp_path: Path) -> None:
    reach = "import socket; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 3)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = (
            f'python3 -c "import sys; {reach}" {port} && echo reached; ls /proc | grep -c "^[0-9]"'
        )
        result = run(tmp_path, script)
    assert "reached" not in result.log
    assert "Error" in result.log
    assert int(result.log.split()[-1]) < 10


def test_bubblewrap_lets_it_write_its_output_alone(tmp_path: Path) -> None:
    if sandbox.kind() != "bubblewrap":
        pytest.skip("bubblewrap is not installed, or does not work here")
    elsewhere = tmp_path / "elsewhere"
    script = (
        f'echo x > \'{elsewhere}\'; echo x > "$1/x"; echo x > "$2/x"; echo x > here; echo x > ~/x'
    )
    run(tmp_path, script)
    assert not elsewhere.exists()
    assert not list((tmp_path / "in").iterdir())
    assert (tmp_path / "out" / "x").read_text() == "x\n"
    assert sorted(path.name for path in (tmp_path / "theirs").iterdir()) == ["run_attack.sh"]


def test_code_behind_a_link_inside_the_folder_is_fingerprinted_and_copied(tmp_path: Path) -> None:
    folder = write_script(tmp_path / "theirs", "exec ./linked/code.sh")
    (folder / "real").mkdir()
    (folder / "real" / "code.sh").write_text("one")
    (folder / "linked").symlink_to("real")
    first = fingerprint(folder)
    (folder / "real" / "code.sh").write_text("two")
    assert fingerprint(folder) != first
    copy(folder, tmp_path / "copied")
    assert (tmp_path / "copied" / "linked" / "code.sh").read_text() == "two"
    assert fingerprint(tmp_path / "copied") == fingerprint(folder)


def test_a_folder_called_pycache_above_does_not_hide_the_code(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    folder = write_script(tmp_path / "__pycache__" / "theirs", "one")
    first = fingerprint(folder)
    write_script(folder, "two")
    assert fingerprint(folder) != first


LINKS: dict[str, Callable[[Path], None]] = {
    "is a link that leads out": lambda path: path.symlink_to("/etc/hostname"),
    "is a link that leads out of": lambda path: path.symlink_to(path.parent.parent),
    "is a link that leads back up": lambda path: path.symlink_to(path.parent),
    "is a device, a pipe or a socket": lambda path: os.mkfifo(path),
}


@pytest.mark.parametrize("reason", LINKS)
def test_a_link_to_elsewhere_is_refused_by_name(tmp_path: Path, reason: str) -> None:
    folder = write_script(tmp_path / "theirs", "true")
    LINKS[reason](folder / "odd")
    for refused in (lambda: fingerprint(folder), lambda: copy(folder, tmp_path / "copied")):
        with pytest.raises(FdbenchError, match=f"odd {reason}"):
            refused()


def test_a_killed_supervisor_is_an_error_not_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "kind", lambda: "none")
    with pytest.raises(FdbenchError, match="supervisor was killed"):
        run(tmp_path, "kill -9 $PPID")


def test_the_supervisors_request_and_answer(tmp_path: Path) -> None:
    """It needs nothing of fdbench, and ends when its stdin does."""
    script = Path(sandbox.__file__).with_name("supervisor.py")
    request = {"command": ["sleep", "60"], "cwd": str(tmp_path), "limit_s": 60}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script), json.dumps(request)],
        stdin=subprocess.DEVNULL, capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {"exit_code": None, "log": ""}
    assert time.monotonic() - began < 10
