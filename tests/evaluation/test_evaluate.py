import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch
from conftest import Linear, frozen
from killing import killed, lines_in
from scripted import Scripted, pgd_spec

from fdbench.attacks import PGD
from fdbench.attacks.protocol import Reading, Subject
from fdbench.data import sampled
from fdbench.data.open import open_data
from fdbench.errors import BadValue
from fdbench.evaluation import precision
from fdbench.evaluation.evaluation import Evaluation
from fdbench.evaluation.loop import evaluate
from fdbench.machine import out_of_memory
from fdbench.models.checkpoint import weights_hash
from fdbench.models.load import Model
from fdbench.specs import AttackSpec, Parameters
from fdbench.store import Workspace, images, read_info, read_run, row_digest
from fdbench.verdict import IllegalAdversary, Referee, predict

SPEC = pgd_spec(iters=(2, 5))


def job(results: Path, classes: int = 10, **changes: Any) -> Evaluation:
    net = frozen(Linear(classes, 28, seed=0))
    model = Model("linear", "conftest:linear", net, weights_hash(net.state_dict()), None)
    data = open_data("fashion-mini", "test")
    cpu = torch.device("cpu")
    evaluation = Evaluation(
        model, data, PGD(), SPEC, Workspace(results), cpu, limit=40, batch_size=16
    )
    return replace(evaluation, **changes)


def rows(folder: Path) -> dict[int, dict[str, Any]]:
    lines = [line for path in folder.glob("rows-*.jsonl") for line in path.read_text().splitlines()]
    parsed = [json.loads(line) for line in lines]
    assert len({row["image"] for row in parsed}) == len(parsed), "an image was judged twice"
    return {row["image"]: row for row in parsed}


def silent(text: str) -> None:
    pass


def test_every_image_has_one_row_with_all_readings(tmp_path: Path) -> None:
    by_image = rows(evaluate(job(tmp_path), silent))
    assert sorted(by_image) == list(range(40))
    for row in by_image.values():
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
    for row in rows(evaluate(job(tmp_path, spec=spec), silent)).values():
        assert row["target"] in range(10)
        assert row["target"] != row["label"]


@pytest.mark.parametrize("batch_size", [7, 40])
def test_the_batch_size_changes_no_row(tmp_path: Path, batch_size: int) -> None:
    spec = replace(SPEC, targeted=True)
    wanted = rows(evaluate(job(tmp_path / "a", spec=spec), silent))
    got = rows(evaluate(job(tmp_path / "b", spec=spec, batch_size=batch_size), silent))
    rounded = {"distance": 0, "check": 0}  # the check covers the distance too
    for image, row in wanted.items():
        assert {**row, **rounded} == {**got[image], **rounded}
        assert row["distance"] == pytest.approx(got[image]["distance"], abs=1e-6)


class Noisy(Linear):
    """Draws new noise at each pass, its own targets' included."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.randn(len(x), 10)


def test_a_randomised_network_is_seeded_before_it_chooses_targets(tmp_path: Path) -> None:
    net = frozen(Noisy(10, 28, seed=0))
    model = Model("noisy", "here:noisy", net, weights_hash(net.state_dict()), None)
    spec = replace(SPEC, targeted=True, targets="least-likely")

    def run(seed: int) -> dict[int, dict[str, Any]]:
        torch.manual_seed(seed)
        workspace = Workspace(tmp_path / str(seed))
        return rows(evaluate(job(tmp_path, model=model, spec=spec, workspace=workspace), silent))

    assert run(1) == run(2)


def test_a_finished_job_has_nothing_left_to_do(tmp_path: Path) -> None:
    folder = evaluate(job(tmp_path), silent)
    before = (folder / "rows-0.jsonl").read_bytes()
    messages: list[str] = []
    assert evaluate(job(tmp_path), messages.append) == folder
    assert "0 of 40 images to do" in messages[0]
    assert (folder / "rows-0.jsonl").read_bytes() == before


def test_a_torn_last_line_is_redone_and_nothing_else(tmp_path: Path) -> None:
    folder = evaluate(job(tmp_path), silent)
    path = folder / "rows-0.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    messages: list[str] = []
    evaluate(job(tmp_path), messages.append)
    assert "1 of 40 images to do" in messages[0]
    assert path.read_bytes() == whole


def test_two_ranks_write_the_rows_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = evaluate(job(tmp_path / "one"), silent)
    wanted = rows(alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        folder = evaluate(job(tmp_path / "two"), silent)
    assert len(list(folder.glob("rows-*.jsonl"))) == 2
    seen, both = (read_run(one).info.found["observed"] for one in (alone, folder))
    assert both == pytest.approx(seen), "the sanity gate judges what every process saw"
    alone_too = json.loads((folder / "run.json").read_text())["found"]["observed"]
    assert 0 < alone_too["images"] < both["images"]
    assert {i: row["pred"] for i, row in rows(folder).items()} == {
        i: row["pred"] for i, row in wanted.items()
    }


def outside(subject: Subject, spec: AttackSpec) -> Any:
    yield Reading("1", (subject.batch.x + 0.1).clamp(0, 1))


def test_an_attack_that_leaves_its_ball_stops_the_run_and_records_nothing(tmp_path: Path) -> None:
    scripted = Scripted(outside)
    with pytest.raises(IllegalAdversary, match=r"limit 8/255"):
        evaluate(job(tmp_path, attack=scripted), silent)
    assert all(not path.read_text() for path in tmp_path.glob("runs/*/rows-*.jsonl"))


def strong_then_weak(subject: Subject, spec: AttackSpec) -> Any:
    """Two restarts: the second is the clean image again, and must not undo the first."""
    x = subject.batch.x
    yield Reading("1", 1 - x)
    yield Reading("1", x)


def test_each_image_counts_by_its_worst_restart(tmp_path: Path) -> None:
    spec = pgd_spec(eps=1.0, iters=(1,))
    scripted = Scripted(strong_then_weak)
    work = job(tmp_path, attack=scripted, spec=spec)
    by_image = rows(evaluate(work, silent))
    batch = work.data.fetch(range(40))
    first = predict(work.model.net, 1 - batch.x)
    second = predict(work.model.net, batch.x)
    assert (first != second).any()
    for i, row in by_image.items():
        right = first[i] == row["label"] and second[i] == row["label"]
        assert (row["pred"]["1"] == row["label"]) == bool(right)


def test_verdicts_of_a_bfloat16_attack_are_the_float32_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = job(tmp_path, precision="bf16")
    attacked: list[torch.nn.Module] = []
    seen: list[torch.Tensor] = []
    judged = Referee.__call__

    def watched(subject: Subject, spec: AttackSpec) -> Any:
        attacked.append(subject.net)
        return PGD().run(subject, spec)

    def listened(self: Referee, adv: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        assert self.net is work.model.net
        assert adv.dtype == torch.float32
        seen.append(adv)
        return judged(self, adv, index)

    monkeypatch.setattr(Referee, "__call__", listened)
    evaluate(replace(work, attack=Scripted(watched)), silent)
    assert seen
    assert attacked
    assert all(net is not work.model.net for net in attacked)


def test_a_network_with_too_few_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="knows 5 classes, fashion-mini has 10"):
        evaluate(job(tmp_path, classes=5), silent)


_SLOW_RUN = """
import sys, time
from pathlib import Path
import torch
from test_evaluate import job, silent
from fdbench.attacks import PGD
from fdbench.evaluation.loop import evaluate
from scripted import Scripted
torch.set_num_threads(1)
def slow(subject, spec):
    time.sleep(0.3)
    yield from PGD().run(subject, spec)
evaluate(job(Path(sys.argv[1]), batch_size=4, attack=Scripted(slow)), silent)
"""


def test_kill_9_in_the_middle_loses_no_finished_row(tmp_path: Path) -> None:
    wanted = rows(evaluate(job(tmp_path / "calm", batch_size=4), silent))
    files, work = tmp_path.glob, str(tmp_path / "killed")
    killed(lambda: lines_in(*files("killed/runs/*/rows-*")) >= 8, "-c", _SLOW_RUN, work)
    (folder,) = tmp_path.glob("killed/runs/*")
    kept = rows(folder)
    assert 8 <= len(kept) < 40
    assert {i: wanted[i] for i in kept} == kept
    assert rows(evaluate(job(tmp_path / "killed", batch_size=4), silent)) == wanted


def test_images_are_kept_whichever_process_is_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        folder = evaluate(job(tmp_path, save_adv="float"), silent)
    assert all("shard" in row for row in rows(folder).values())
    assert read_info(folder / "run.json").found["save_adv"] == "float"


def test_what_interrupted_sessions_left_is_gone_at_the_end(tmp_path: Path) -> None:
    work = job(tmp_path, save_adv="float")
    folder = evaluate(replace(work, limit=20), silent)
    left = [folder / "adv" / f"{'5' * 32}.safetensors", folder / "scratch-0", folder / "scratch-1"]
    for path in left:
        path.write_bytes(b"of a killed process")
    evaluate(work, silent)
    assert not [path for path in left if path.exists()]
    assert {path.name for path in (folder / "adv").iterdir()} == {
        row["shard"] for row in rows(folder).values()
    }


ATTACKED: list[tuple[int, ...]] = []  # ids of the batches that `greedy` was given


def greedy(subject: Subject, spec: AttackSpec) -> Any:
    """Runs out of memory where a batch is larger than four images."""
    ids = tuple(int(image) for image in subject.batch.ids)
    ATTACKED.append(ids)
    if len(ids) > 4:
        raise torch.OutOfMemoryError("a GPU of four images")
    yield Reading("1", subject.batch.x, notes={"among": [len(ids)] * len(ids)})


@pytest.mark.parametrize("whole", [False, True])
def test_out_of_memory_halves_the_batch_and_gives_a_warning(
    tmp_path: Path, whole: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted = Scripted(greedy, "batch" if whole else "image")
    ATTACKED.clear()
    folder = evaluate(job(tmp_path, attack=scripted, batch_size=16), silent)
    assert sorted(rows(folder)) == list(range(40))
    assert [len(ids) for ids in ATTACKED][:3] == [16, 8, 4]
    assert len([ids for ids in ATTACKED if len(ids) > 4]) == 2, "the smaller batch is kept"
    warnings = json.loads((folder / "run.json").read_text())["warnings"]
    assert "out of memory at 16 images a batch: went on with 8" in warnings[0]
    assert "warning: out of memory at 8" in capsys.readouterr().err
    assert ("draws per batch" in warnings[0]) == whole


def test_an_error_that_is_not_about_memory_is_not_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = Scripted(greedy)
    monkeypatch.setattr(out_of_memory, "is_out_of_memory", lambda error: False)
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(job(tmp_path, attack=scripted), silent)


def among(subject: Subject, spec: AttackSpec) -> Any:
    """Notes for each image the batch it was attacked in."""
    ids = list(subject.batch.ids)
    yield Reading("1", subject.batch.x, notes={"among": [ids] * len(ids)})


def test_whole_batches_keep_their_boundaries_when_resumed_and_sharded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = Scripted(among, "batch")
    folder = evaluate(job(tmp_path / "one", attack=scripted), silent)
    wanted = rows(folder)
    assert {tuple(row["among"]) for row in wanted.values()} == {
        tuple(range(16)), tuple(range(16, 32)), tuple(range(32, 40))
    }  # fmt: skip
    path = folder / "rows-0.jsonl"
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[:20]) + b"\n{torn")
    assert rows(evaluate(job(tmp_path / "one", attack=scripted), silent)) == wanted
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in ("0", "1", "2"):
        monkeypatch.setenv("RANK", rank)
        sharded = evaluate(job(tmp_path / "three", attack=scripted), silent)
    assert rows(sharded) == wanted


def test_a_whole_batch_attack_with_another_batch_size_is_another_run(tmp_path: Path) -> None:
    scripted = Scripted(among, "batch")
    assert evaluate(job(tmp_path, attack=scripted), silent) != evaluate(
        job(tmp_path, attack=scripted, batch_size=8), silent
    )


def test_a_larger_limit_continues_the_run_with_the_rows_of_one_long_run(tmp_path: Path) -> None:
    short = evaluate(job(tmp_path, limit=10), silent)
    assert evaluate(job(tmp_path, limit=40), silent) == short
    assert rows(short) == rows(evaluate(job(tmp_path / "once", limit=40), silent))
    assert json.loads((short / "run.json").read_text())["images"] == 40


def test_a_larger_limit_of_a_whole_batch_attack_is_another_run(tmp_path: Path) -> None:
    scripted = Scripted(among, "batch")
    assert evaluate(job(tmp_path, attack=scripted, limit=10), silent) != evaluate(
        job(tmp_path, attack=scripted, limit=40), silent
    )


def test_another_sample_is_another_run_of_its_own_first_images(tmp_path: Path) -> None:
    balanced = job(tmp_path, data=sampled(open_data("fashion-mini"), "balanced"), limit=20)
    folder = evaluate(balanced, silent)
    assert folder != evaluate(job(tmp_path, limit=20), silent)
    labels = [row["label"] for row in rows(folder).values()]
    assert sorted(labels) == sorted([*range(10)] * 2)
    assert json.loads((folder / "run.json").read_text())["data"]["sample"] == "balanced"


def test_without_acceleration_an_attack_may_be_given_the_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = Scripted(among, "batch", reference_draws="run")
    accelerated = rows(evaluate(job(tmp_path, attack=scripted), silent))
    assert {len(row["among"]) for row in accelerated.values()} == {16, 8}
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        folder = evaluate(job(tmp_path, attack=scripted, precision="reference"), silent)
    assert {len(row["among"]) for row in rows(folder).values()} == {40}
    assert not (folder / "rows-1.jsonl").read_bytes()
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert (
        evaluate(job(tmp_path, attack=scripted, precision="reference", limit=30), silent) != folder
    )


@dataclass(frozen=True)
class Blind(Parameters):
    sees_network: ClassVar[bool] = False


def curious(subject: Subject, spec: AttackSpec) -> Any:
    subject.net(subject.batch.x)
    yield Reading("1", subject.batch.x)


def test_a_black_box_attack_cannot_query_the_network_it_is_judged_on(tmp_path: Path) -> None:
    scripted = Scripted(curious)
    spec = AttackSpec("scripted", parameters=Blind())
    with pytest.raises(AssertionError, match="asked the network it is judged on"):
        evaluate(job(tmp_path, attack=scripted, spec=spec), silent)


@pytest.mark.parametrize("how", ["float", "png"])
def test_saved_images_get_the_verdicts_of_their_rows(tmp_path: Path, how: str) -> None:
    work = job(tmp_path, save_adv=how)
    folder = evaluate(work, silent)
    for image, row in rows(folder).items():
        shard = images.read_shard(folder / "adv" / row["shard"])
        for budget, pred in row["pred"].items():
            adv = shard.images(budget, [image])
            assert int(predict(work.model.net, adv)) == pred
        assert row["check"] == row_digest(cast(Any, row), read_info(folder / "run.json").key)
    assert len(list(folder.glob("png/5/*.png"))) == (40 if how == "png" else 0)


def test_a_run_is_not_resumed_with_another_save_adv(tmp_path: Path) -> None:
    folder = evaluate(job(tmp_path), silent)
    path = folder / "rows-0.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(BadValue, match="begun without --save-adv"):
        evaluate(job(tmp_path, save_adv="float"), silent)
    evaluate(job(tmp_path), silent)


def test_whole_pixels_are_saved_for_linf_attacks_only(tmp_path: Path) -> None:
    spec = pgd_spec(norm="l2", eps=0.5, iters=(2,))
    with pytest.raises(BadValue, match="--save-adv png"):
        evaluate(job(tmp_path, spec=spec, save_adv="png"), silent)


def test_auto_precision_is_settled_once_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = evaluate(job(tmp_path, precision="auto", limit=20), silent)
    comparison = json.loads((folder / "run.json").read_text())["found"]["precision"]
    assert comparison["chosen"] == "fp32"
    assert "too short for a trial" in comparison["why"]
    path = folder / "rows-0.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    monkeypatch.setattr(precision, "compare", None)  # would raise if it were called again
    evaluate(job(tmp_path, precision="auto", limit=20), silent)
    assert sorted(rows(folder)) == list(range(20))


def test_a_run_in_emulated_bf16_starts_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fdbench.evaluation.precision.has_bf16", lambda device: False)
    evaluate(job(tmp_path, precision="bf16", limit=4), silent)
    assert "warning: this processor has no bf16 arithmetic" in capsys.readouterr().err
