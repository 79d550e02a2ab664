import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Linear, frozen

from fdbench import evaluate as loop
from fdbench.attacks import ATTACKS, Entry, Reading, Subject
from fdbench.data import open_data
from fdbench.errors import BadValue
from fdbench.evaluate import Job, evaluate
from fdbench.judge import Referee, predict
from fdbench.models.checkpoint import weights_hash
from fdbench.models.load import Model
from fdbench.specs import AttackSpec
from fdbench.verify import IllegalAdversary

SPEC = AttackSpec(iters=(2, 5))


def job(results: Path, classes: int = 10, **changes: Any) -> Job:
    net = frozen(Linear(classes, 28, seed=0))
    model = Model("linear", "conftest:linear", net, weights_hash(net.state_dict()), None)
    data = open_data("fashion-mini", "test")
    cpu = torch.device("cpu")
    return replace(Job(model, data, SPEC, results, cpu, limit=40, batch_size=16), **changes)


def rows(folder: Path) -> dict[int, dict[str, Any]]:
    lines = [line for path in folder.glob("rows-*.jsonl") for line in path.read_text().splitlines()]
    parsed = [json.loads(line) for line in lines]
    assert len({row["image"] for row in parsed}) == len(parsed), "an image was judged twice"
    return {row["image"]: row for row in parsed}


def silent(text: str) -> None:
    pass


def test_every_image_has_one_row_with_all_readings(tmp_path: Path) -> None:
    found = rows(evaluate(job(tmp_path), silent))
    assert sorted(found) == list(range(40))
    for row in found.values():
        assert set(row["pred"]) == {"2", "5"}
        assert row["target"] is None
        assert 0 < row["distance"] <= 8 / 255 + 1e-6


def test_any_iterate_reading_agrees_with_the_verdicts(tmp_path: Path) -> None:
    for row in rows(evaluate(job(tmp_path), silent)).values():
        for budget, first in row["first_wrong_by"].items():
            if row["pred"][budget] != row["label"]:
                assert first is not None
                assert first <= int(budget)
        assert row["first_wrong"] == row["first_wrong_by"]["5"]


def test_targets_are_recorded_and_never_the_label(tmp_path: Path) -> None:
    spec = replace(SPEC, targeted=True)
    for row in rows(evaluate(job(tmp_path, attack=spec), silent)).values():
        assert row["target"] in range(10)
        assert row["target"] != row["label"]


@pytest.mark.parametrize("batch_size", [7, 40])
def test_the_batch_size_changes_no_row(tmp_path: Path, batch_size: int) -> None:
    spec = replace(SPEC, targeted=True)
    wanted = rows(evaluate(job(tmp_path / "a", attack=spec), silent))
    got = rows(evaluate(job(tmp_path / "b", attack=spec, batch_size=batch_size), silent))
    for image, row in wanted.items():
        assert {**row, "distance": 0} == {**got[image], "distance": 0}
        assert row["distance"] == pytest.approx(got[image]["distance"], abs=1e-6)


def test_the_same_job_again_finds_nothing_to_do(tmp_path: Path) -> None:
    folder = evaluate(job(tmp_path), silent)
    before = (folder / "rows-0.jsonl").read_bytes()
    said: list[str] = []
    assert evaluate(job(tmp_path), said.append) == folder
    assert "0 of 40 images to do" in said[0]
    assert (folder / "rows-0.jsonl").read_bytes() == before


def test_a_torn_last_line_is_redone_and_nothing_else(tmp_path: Path) -> None:
    folder = evaluate(job(tmp_path), silent)
    path = folder / "rows-0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    said: list[str] = []
    evaluate(job(tmp_path), said.append)
    assert "1 of 40 images to do" in said[0]
    assert path.read_bytes() == whole


def test_two_ranks_write_the_rows_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = rows(evaluate(job(tmp_path / "one"), silent))
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        folder = evaluate(job(tmp_path / "two"), silent)
    assert len(list(folder.glob("rows-*.jsonl"))) == 2
    assert {i: row["pred"] for i, row in rows(folder).items()} == {
        i: row["pred"] for i, row in wanted.items()
    }


def outside(subject: Subject, spec: AttackSpec) -> Any:
    yield Reading("1", (subject.batch.x + 0.1).clamp(0, 1))


def one_step(spec: AttackSpec) -> int:
    return 1


def test_an_attack_that_leaves_its_ball_stops_the_run_and_records_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ATTACKS, "pgd", Entry(f"{__name__}:outside", f"{__name__}:one_step"))
    with pytest.raises(IllegalAdversary, match=r"limit 8/255"):
        evaluate(job(tmp_path), silent)
    assert all(not path.read_text() for path in tmp_path.glob("runs/*/rows-*.jsonl"))


def weak_then_strong(subject: Subject, spec: AttackSpec) -> Any:
    """Two restarts: the second is the clean image again, and must not undo the first."""
    x = subject.batch.x
    yield Reading("1", 1 - x)
    yield Reading("1", x)


def test_restarts_count_by_each_images_worst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = AttackSpec(eps=1.0, iters=(1,))
    here = Entry(f"{__name__}:weak_then_strong", f"{__name__}:one_step")
    monkeypatch.setitem(ATTACKS, "pgd", here)
    work = job(tmp_path, attack=spec)
    found = rows(evaluate(work, silent))
    batch = work.data.fetch(range(40))
    first = predict(work.model.net, 1 - batch.x)
    second = predict(work.model.net, batch.x)
    assert (first != second).any()
    for i, row in found.items():
        right = first[i] == row["label"] and second[i] == row["label"]
        assert (row["pred"]["1"] == row["label"]) == bool(right)


def test_verdicts_of_a_bfloat16_attack_are_the_float32_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = job(tmp_path, precision="bf16")
    seen: list[torch.Tensor] = []
    run = loop.attack_batch

    def watched(*args: Any) -> Any:
        found = run(*args)
        assert args[2] is not work.model.net
        return found

    judged = Referee.__call__

    def listened(self: Referee, adv: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        assert self.net is work.model.net
        assert adv.dtype == torch.float32
        seen.append(adv)
        return judged(self, adv, index)

    monkeypatch.setattr(loop, "attack_batch", watched)
    monkeypatch.setattr(Referee, "__call__", listened)
    evaluate(work, silent)
    assert seen


def test_a_network_with_too_few_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="knows 5 classes, fashion-mini has 10"):
        evaluate(job(tmp_path, classes=5), silent)


_SLOW_RUN = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
from test_evaluate import job, silent
from fdbench import evaluate as loop
torch.set_num_threads(1)
inner = loop.attack_batch
def slow(*args):
    time.sleep(0.3)
    return inner(*args)
loop.attack_batch = slow
loop.evaluate(job(Path(sys.argv[1]), batch_size=4), silent)
"""


def test_kill_9_in_the_middle_loses_no_finished_row(tmp_path: Path) -> None:
    wanted = rows(evaluate(job(tmp_path / "calm", batch_size=4), silent))
    command = [
        sys.executable,
        "-c",
        _SLOW_RUN,
        str(tmp_path / "killed"),
        str(Path(__file__).parent),
    ]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        written = [path.read_bytes().count(b"\n") for path in tmp_path.glob("killed/runs/*/rows-*")]
        if sum(written) >= 8:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    (folder,) = tmp_path.glob("killed/runs/*")
    kept = rows(folder)
    assert 8 <= len(kept) < 40
    assert {i: wanted[i] for i in kept} == kept
    assert rows(evaluate(job(tmp_path / "killed", batch_size=4), silent)) == wanted
