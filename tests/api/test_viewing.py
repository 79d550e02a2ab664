"""fdbench view shows what is under way to this machine alone, and ends with Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from madeup import decaying, info, row, store

from fdbench.api.viewing import viewer
from fdbench.errors import FdbenchError
from fdbench.reporting import Watch, write_report
from fdbench.store import RunPaths, Workspace

ROBUST = {0: 90, 10: 60, 100: 40}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A finished run, one under way, one that stopped an hour ago, and what is no run."""
    decaying(tmp_path, "r20", ROBUST)
    rows = [row(i, 20, (10, 100)) for i in range(30)]
    store(tmp_path, info("r20-mean"), rows)
    old = store(tmp_path, info("r20-null"), rows[:7])
    for path in (RunPaths(old).description, *RunPaths(old).all_rows()):
        os.utime(path, (time.time() - 3600,) * 2)
    (tmp_path / "runs" / "foreign").mkdir()
    (tmp_path / "runs" / "foreign" / "run.json").write_text("{")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "x50.resume").touch()
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path


def test_jobs_are_counted_from_their_files_those_under_way_first(results: Path) -> None:
    watch = Watch(Workspace(results))
    found = [(job.kind, job.state, job.done, job.planned) for job in watch.jobs()]
    assert found == [
        ("run", "running", 30, 100),
        ("training", "running", None, None),
        ("run", "stopped", 7, 100),
        ("run", "finished", 100, 100),
    ]
    (folder,) = (results / "runs").glob("r20-mean-*")
    with RunPaths(folder).rows(0).open("ab") as file:
        file.write(b'{"image": 99}\n{"torn')
    assert watch.jobs()[0].done == 31, "whole lines"


@pytest.fixture
def address(results: Path) -> Iterator[str]:
    write_report(results, None)
    with viewer(results) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def got(url: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


def test_the_view_its_data_and_the_report_are_served(address: str) -> None:
    assert b"fdbench view" in got(f"{address}/")[1]
    seen = json.loads(got(f"{address}/progress.json")[1])
    assert seen["report"]
    assert len(seen["jobs"]) == 4
    assert got(f"{address}/report.html")[1].startswith(b"<!doctype html>")
    assert got(f"{address}/whitebox.png")[1].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "path", ["secret.txt", "../secret.txt", "%2e%2e/etc/passwd", "runs", "report-files.json", "/"]
)
def test_nothing_else_is_served(address: str, path: str) -> None:
    assert got(f"{address}/{path}")[0] == (200 if path == "/" else 404)


def test_a_page_from_elsewhere_can_not_read_it_by_another_name(address: str) -> None:
    assert got(f"{address}/progress.json", Host="evil.example:80") == (403, b"")


def test_a_folder_that_is_absent_and_a_port_that_is_taken_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FdbenchError, match="nothing to view"):
        viewer(tmp_path / "absent")
    with viewer(tmp_path) as server, pytest.raises(FdbenchError, match="can't be opened"):
        viewer(tmp_path, server.server_port)


def test_ctrl_c_ends_it_and_it_starts_without_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fdbench", "view", "--results", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert json.loads(got(f"{url}progress.json")[1])["jobs"] == []
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
