"""Runs on the disk survive kills, full disks, second writers and other ranks."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from madeup import info, other_weights, row, run_json, sealed, store

from fdbench.errors import FdbenchError, SanityFailed
from fdbench.files import write_atomically
from fdbench.store.reading import read_rows
from fdbench.store.rows import Row
from fdbench.store.run_json import RunInfo, read_info
from fdbench.store.runs import RunFolder, read_run, read_runs
from fdbench.store.session import command_line
from fdbench.store.workspace import Workspace

BUDGETS = (10, 100)


def rows(*images: int) -> list[Row]:
    return [row(i, None, BUDGETS) for i in images]


def test_appended_rows_are_read_back_and_done(tmp_path: Path) -> None:
    with RunFolder.open(Workspace(tmp_path), info(images=3)) as folder:
        folder.append(rows(0, 1))
        folder.append(rows(2))
        assert folder.done == {0, 1, 2}
    (run,) = read_runs(tmp_path)
    assert list(run.rows) == sealed(run.info, rows(0, 1, 2))
    assert run.finished
    assert run.info.name == run.name
    assert run.info.identity == info(images=3).identity


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"precision": "bf16"},
        {"attack": replace(info().attack, eps=4 / 255)},
        {"data": replace(info().data, sample="balanced")},
        {"data": replace(info().data, fingerprint="0" * 16)},
        {"data": replace(info().data, split="train")},
        {"model": replace(info().model, weights="1" * 64)},
        {"further": {"batch_size": 50}},
    ],
)
def test_name_changes_with_whatever_changes_a_verdict(change: dict[str, Any]) -> None:
    assert replace(info(), **change).name != info().name


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 1},
        {"limit": 10, "images": 10},
        {"environment": {}},
        {"command": "other"},
        {"started": "2026-01-01"},
        {"attack": info().attack.with_parameters(iters=(100, 10))},
    ],
)
def test_name_ignores_what_changes_no_verdict(change: dict[str, Any]) -> None:
    assert replace(info(), **change).name == info().name


def test_runs_of_earlier_formats_keep_their_names() -> None:
    old = replace(info(), format=2)
    assert old.name == "r20-fashion-mini-pgd-10-100-u-linf-8-b22364f3ce2cc298"
    assert replace(old, limit=10).name != old.name


def test_more_images_of_a_sample_continue_its_run(tmp_path: Path) -> None:
    few = replace(info(images=2), limit=2, command="fdbench attack pgd --limit 2")
    more = replace(info(images=3), limit=3, command="fdbench attack pgd --limit 3")
    path = store(tmp_path, few, rows(0, 1))
    with RunFolder.open(Workspace(tmp_path), more) as folder:
        assert (folder.path, folder.done) == (path, {0, 1})
        folder.append(rows(2))
    (run,) = read_runs(tmp_path)
    assert (run.info.images, run.info.limit, run.info.command) == (3, 3, more.command)
    assert run.finished


def test_fewer_images_leave_a_run_as_it_is(tmp_path: Path) -> None:
    more = replace(info(images=3), limit=3)
    path = store(tmp_path, more, rows(0, 1, 2))
    before = (path / "run.json").read_bytes()
    with RunFolder.open(Workspace(tmp_path), replace(more, images=1, limit=1)) as folder:
        assert folder.done == {0, 1, 2}
    assert (path / "run.json").read_bytes() == before


def test_name_is_safe_and_short_for_any_model_and_data() -> None:
    strange = replace(info(), data=replace(info().data, name="npz:/data/big set/cifar10"))
    assert "-cifar10-pgd-10-100-u-linf-8-" in strange.name
    for model in ("tv:resnet50", "../../x", "a/b c", "", "é" * 300):
        name = replace(info(), model=replace(info().model, name=model)).name
        assert name.isascii()
        assert "/" not in name
        assert name[0] != "."
        assert len(name) <= 120


@pytest.mark.parametrize("keep", [1, 20, 10**6])
def test_torn_last_line_is_dropped_and_done_again(tmp_path: Path, keep: int) -> None:
    path = store(tmp_path, info(), rows(0, 1)) / "rows-0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[0][:keep])
    assert [r["image"] for r in read_rows(path.parent, info().key)] == [0, 1]
    with RunFolder.open(Workspace(tmp_path), info()) as folder:
        assert folder.done == {0, 1}
        assert path.read_bytes() == whole
        folder.append(rows(2))
    assert len(read_runs(tmp_path)[0].rows) == 3


def test_torn_tail_of_another_rank_is_left_alone(tmp_path: Path) -> None:
    path = store(tmp_path, info(), rows(0)) / "rows-1.jsonl"
    path.write_bytes(json.dumps(sealed(info(), rows(1))[0]).encode() + b'\n{"image": 2')
    before = path.read_bytes()
    with RunFolder.open(Workspace(tmp_path), info()) as folder:
        assert folder.done == {0, 1}
    assert path.read_bytes() == before


def test_an_image_judged_twice_counts_the_first_time_and_gives_a_warning(tmp_path: Path) -> None:
    path = store(tmp_path, info(), rows(0, 1))
    (again,) = sealed(info(), [row(1, 5, BUDGETS)])
    (path / "rows-1.jsonl").write_text(json.dumps(again) + "\n")
    (run,) = read_runs(tmp_path)
    assert list(run.rows) == sealed(info(), rows(0, 1))
    assert run.info.warnings == ("1 images were judged twice; rows-1.jsonl repeats them, ignored",)


def test_second_writer_of_a_rank_is_refused_and_other_ranks_are_not(tmp_path: Path) -> None:
    with RunFolder.open(Workspace(tmp_path), info()):
        with pytest.raises(FdbenchError, match=r"another process is writing .*rows-0\.jsonl"):
            RunFolder.open(Workspace(tmp_path), info())
        RunFolder.open(Workspace(tmp_path), info(), rank=1).close()
    RunFolder.open(Workspace(tmp_path), info()).close()


def test_a_process_of_a_larger_job_that_is_still_alive_keeps_a_smaller_one_from_its_images(
    tmp_path: Path,
) -> None:
    with RunFolder.open(Workspace(tmp_path), info(), rank=2, world=3):
        RunFolder.open(Workspace(tmp_path), info(), rank=1, world=3).close()
        RunFolder.open(Workspace(tmp_path), info(), world=3).close()
        with pytest.raises(FdbenchError, match=r"another process is writing .*rows-2\.jsonl"):
            RunFolder.open(Workspace(tmp_path), info(), world=2)
    RunFolder.open(Workspace(tmp_path), info()).close()


def test_a_damaged_line_of_a_rank_that_is_gone_is_set_aside_and_its_image_redone(
    tmp_path: Path,
) -> None:
    with RunFolder.open(Workspace(tmp_path), info(), rank=1, world=2) as folder:
        folder.append(rows(0, 1))
    file = folder.paths.rows(1)
    file.write_bytes(file.read_bytes().replace(b'"clean": ', b'"clean": 1', 1))
    with RunFolder.open(Workspace(tmp_path), info()) as alone:
        assert alone.done == {1}
        alone.append(rows(0))
    (run,) = read_runs(tmp_path)
    assert sorted(row["image"] for row in run.rows) == [0, 1]
    assert not run.damaged


def append_forever(results: Path) -> None:
    with RunFolder.open(Workspace(results), info(images=10**6)) as folder:
        for start in range(0, 10**6, 50):
            folder.append(rows(*range(start, start + 50)))


def test_kill_9_loses_no_finished_batch_and_leaves_no_lock(tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=append_forever, args=(tmp_path,))
    child.start()
    path = tmp_path / "runs" / info().name / "rows-0.jsonl"
    while not path.exists() or path.stat().st_size < 50_000:
        child.join(0.005)
    assert child.pid
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    with RunFolder.open(Workspace(tmp_path), info(images=10**6)) as folder:
        assert folder.done == set(range(len(folder.done)))
        assert len(folder.done) >= 50


def full(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_full_disk_leaves_whole_rows_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real = os.write

    def half(handle: int, content: bytes) -> int:
        if len(content) < 200:
            full()
        return real(handle, content[: len(content) // 2])

    with RunFolder.open(Workspace(tmp_path), info()) as folder:
        folder.append(rows(0))
        with monkeypatch.context() as patch:
            patch.setattr(os, call, half if call == "write" else full)
            with pytest.raises(FdbenchError, match=r"(?s)rows-0.*No space left.*--results DIR"):
                folder.append(rows(1, 2, 3))
        assert folder.done == {0}
        folder.append(rows(4))
    assert [r["image"] for r in read_runs(tmp_path)[0].rows] == [0, 4]


def test_folder_that_cant_be_written_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FdbenchError, match=r"(?s)can't write .*file/runs.*--results DIR"):
        RunFolder.open(Workspace(tmp_path / "file"), info())


def test_interrupted_rewrite_keeps_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FdbenchError, match="No space left"):
        write_atomically(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_seconds_of_sessions_add_up_and_an_idle_one_adds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("fdbench.store.runs.time.monotonic", lambda: clock[0])
    for session in range(3):
        with RunFolder.open(Workspace(tmp_path), info()) as folder:
            clock[0] += 5
            if session < 2:
                folder.append(rows(session))
            clock[0] += 2
    assert read_runs(tmp_path)[0].info.seconds == 14


def test_wall_time_is_on_disk_while_a_run_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("fdbench.store.runs.time.monotonic", lambda: clock[0])
    with RunFolder.open(Workspace(tmp_path), info()) as folder:
        clock[0] += 100
        folder.append(rows(0))
        assert run_json(folder.path)["seconds"] == 100


def test_warnings_are_merged_and_another_environment_adds_one(tmp_path: Path) -> None:
    with RunFolder.open(Workspace(tmp_path), info()) as folder:
        folder.warn("first")
        folder.append(rows(0))
    newer = replace(info(), environment={**info().environment, "torch": "3.0"}, warnings=("new",))
    RunFolder.open(Workspace(tmp_path), newer).close()
    assert read_runs(tmp_path)[0].info.warnings == (
        "first",
        "new",
        "resumed in another environment: torch 2.11.0 -> 3.0",
    )


def test_finished_run_opened_elsewhere_is_unchanged(tmp_path: Path) -> None:
    path = store(tmp_path, info(images=1), rows(0)) / "run.json"
    before = path.read_bytes()
    RunFolder.open(Workspace(tmp_path), replace(info(images=1), environment={})).close()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fields: "{",
        lambda fields: "[]",
        lambda fields: json.dumps(fields | {"format": 99}),
        lambda fields: json.dumps(fields | {"surprise": 1}),
        lambda fields: json.dumps(fields | {"seed": "zero"}),
        lambda fields: json.dumps(fields | {"attack": None}),
        lambda fields: json.dumps({k: v for k, v in fields.items() if k != "images"}),
        lambda fields: json.dumps(fields | {"data": {"name": "x"}}),
    ],
)
def test_malformed_run_json_is_refused_by_name(tmp_path: Path, spoil: Any) -> None:
    path = store(tmp_path, info(), rows(0)) / "run.json"
    path.write_text(spoil(json.loads(path.read_text())))
    with pytest.raises(FdbenchError, match=r"run\.json"):
        read_run(path.parent)
    assert read_runs(tmp_path) == [], "the others would still be reported"


@pytest.mark.parametrize("line", ["nonsense", "7", '{"image": 1}'])
def test_a_damaged_row_is_named_left_out_and_judged_again(tmp_path: Path, line: str) -> None:
    path = store(tmp_path, info(), rows(0)) / "rows-0.jsonl"
    whole = path.read_text()
    path.write_text(whole + line + "\n")
    (run,) = read_runs(tmp_path)
    assert [row["image"] for row in run.rows] == [0]
    assert "rows-0.jsonl, line 2 " in run.info.warnings[0]
    with RunFolder.open(Workspace(tmp_path), info()) as folder:
        assert folder.done == {0}
        folder.append(rows(1))
    assert path.with_name("rows-0.jsonl.damaged").read_text() == line + "\n"
    (run,) = read_runs(tmp_path)
    assert [row["image"] for row in run.rows] == [0, 1]
    assert len(run.info.warnings) == 1


@pytest.mark.parametrize("change", [{"pred": {"10": 3, "100": 5}}, {"image": 9}, {"label": 4}])
def test_a_row_that_was_edited_or_is_another_runs_counts_as_not_judged(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    path = store(tmp_path, info(), rows(0, 1)) / "rows-0.jsonl"
    first, second = path.read_text().splitlines()
    other = sealed(replace(info(), seed=1), rows(1))[0]
    for damaged in (json.dumps({**json.loads(second), **change}), json.dumps(other)):
        path.write_text(f"{first}\n{damaged}\n")
        (run,) = read_runs(tmp_path)
        assert [row["image"] for row in run.rows] == [0]
        assert "line 2 does not fit its check" in run.info.warnings[0]


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_rows_that_are_deleted_or_replaced_under_a_writer_stop_it(tmp_path: Path, how: str) -> None:
    with RunFolder.open(Workspace(tmp_path), info()) as folder:
        folder.append(rows(0))
        path = folder.paths.rows(0)
        content = path.read_bytes()
        path.unlink()
        if how == "replaced":
            path.write_bytes(content)
        with pytest.raises(FdbenchError, match="was deleted or replaced while"):
            folder.append(rows(1))


@pytest.mark.parametrize("place", ["command", "seconds", "warnings", "found"])
def test_an_edited_description_is_refused(tmp_path: Path, place: str) -> None:
    path = store(tmp_path, info(), rows(0)) / "run.json"
    table = json.loads(path.read_text())
    kinds: dict[str, Any] = {"command": "x", "seconds": 9.5, "warnings": ["x"], "found": {"a": 1}}
    path.write_text(json.dumps({**table, place: kinds[place]}))
    with pytest.raises(SanityFailed, match=r"run\.json was edited"):
        read_info(path)


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    path = store(tmp_path, info(), rows(0))
    other = other_weights(info(), "1", "2026")
    path.rename(path.with_name(other.name))
    with pytest.raises(FdbenchError, match="describes another run"):
        RunFolder.open(Workspace(tmp_path), other)


def test_an_absent_folder_has_no_runs_and_a_new_run_has_no_rows(tmp_path: Path) -> None:
    assert read_runs(tmp_path) == []
    RunFolder.open(Workspace(tmp_path), info()).close()
    (run,) = read_runs(tmp_path)
    assert run.rows == ()
    assert not run.finished


def test_run_json_holds_all_of_a_runs_info(tmp_path: Path) -> None:
    path = store(tmp_path, info(targeted=True, eps=16 / 255), rows(0))
    stored = read_info(path / "run.json")
    assert isinstance(stored, RunInfo)
    assert replace(stored, seconds=0.0) == info(targeted=True, eps=16 / 255)


def test_reading_runs_and_reports_needs_no_torch() -> None:
    heavy = "bool({'torch', 'matplotlib'} & set(sys.modules))"
    code = f"import sys, fdbench.reporting.report; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["bin/fdbench", "attack", "pgd"], "fdbench attack pgd"),
        (["site-packages/fdbench/__main__.py", "report"], "fdbench report"),
        (["my script.py", "--eps", "8/255"], "'my script.py' --eps 8/255"),
    ],
)
def test_the_stored_command_can_be_typed_again(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], words: str
) -> None:
    monkeypatch.setattr("sys.argv", argv)
    assert command_line() == words
