"""What long trainings need: an estimate, a log, less memory, lower precision."""

import csv
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_adversarial import adversarial, equal, no_tick, silent, tiny

from fdbench.errors import BadValue
from fdbench.models.checkpoint import load_card
from fdbench.specs.model import ModelSpec
from fdbench.store.workspace import Workspace
from fdbench.training import start
from fdbench.training.adversarial import AdversarialLearner
from fdbench.training.curves import check_log
from fdbench.training.estimate import BANDWIDTH, Estimate, estimate
from fdbench.training.learner import Lesson
from fdbench.training.loop import learn, train
from fdbench.training.network import NetworkLearner
from fdbench.training.start import DataSource, train_network
from fdbench.training.state import Position
from fdbench.types import Batch, Images

ONE_EPOCH = {"epochs": 1}


def test_the_plan_is_the_formula_that_it_prints() -> None:
    found = Estimate(
        step=400.0, probe=60.0, steps=313, epochs=110, batch=4096, parameters=60_000_000,
        images=4096,
    )  # fmt: skip
    assert found.hours == pytest.approx(110 * (313 * 400 + 60) / 3600)
    sums = 2 * 127 / 128 * 4 * 60e6 / BANDWIDTH
    wanted = 110 * (313 * (400 / 128 + sums) + 60 / 128) / 3600
    assert found.hours_on(128) == pytest.approx(wanted)
    lines = found.lines()
    assert any(line.startswith("in 128 processes: ") for line in lines)
    assert "60000000 parameters / 12.5 GB/s" in lines[-1]
    assert "too long" not in lines[0]
    small = Estimate(step=1.0, probe=1.0, steps=2, epochs=1, batch=16, parameters=10, images=2)
    assert small.lines()[0].endswith("from 2 of the 16 images, as a step takes too long")
    assert not any("in 32 processes" in line for line in small.lines())


def test_an_estimate_measures_steps_and_writes_nothing(tmp_path: Path) -> None:
    found = estimate(tiny(tmp_path))
    assert found.step > 0
    assert found.probe > 0
    assert (found.steps, found.epochs, found.batch) == (4, 2, 16)
    assert found.images == 16
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("patience", "images"), [(0.0, 2), (2.0, 9)])
def test_a_step_that_takes_too_long_is_measured_on_a_part_of_its_images(
    patience: float, images: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = AdversarialLearner.attacked

    def slow(self: AdversarialLearner, batch: Batch, *rest: Any) -> Images:
        time.sleep(0.2 * len(batch.ids))
        return inner(self, batch, *rest)

    monkeypatch.setattr(AdversarialLearner, "attacked", slow)
    monkeypatch.setattr(sys.modules["fdbench.training.estimate"], "_PATIENCE", patience)
    found = estimate(tiny(tmp_path))
    assert 2 <= found.images <= images
    assert 16 * 0.2 < found.step < 16 * 0.8  # the attack sleeps 0.2 s for each image


def test_a_slow_first_pass_is_no_part_of_an_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It chooses kernels: in bf16 on a CPU it took ten times as long as the next."""
    inner = AdversarialLearner.attacked
    calls: list[int] = []

    def slow(self: AdversarialLearner, batch: Batch, *rest: Any) -> Images:
        time.sleep(0 if calls else 0.5)
        calls.append(len(batch.ids))
        return inner(self, batch, *rest)

    monkeypatch.setattr(AdversarialLearner, "attacked", slow)
    monkeypatch.setattr(sys.modules["fdbench.training.estimate"], "_PATIENCE", 8.0)
    found = estimate(tiny(tmp_path))
    assert found.images == 16
    assert found.step < 0.5


def test_an_estimate_counts_steps_on_clean_images_as_what_they_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = AdversarialLearner.attacked

    def slow(self: AdversarialLearner, *args: Any) -> Images:
        time.sleep(0.3)
        return inner(self, *args)

    monkeypatch.setattr(AdversarialLearner, "attacked", slow)
    half, whole = (estimate(tiny(tmp_path, clean_first=share)).step for share in (0.5, 0.0))
    assert whole > 0.3
    assert 0.1 < whole - half < 0.3


def test_the_log_is_the_cards_in_either_format(tmp_path: Path) -> None:
    for name in ("log.csv", "log.jsonl"):
        path = train(tiny(tmp_path, epochs=2), fresh=True, say=silent, log=tmp_path / name)
        entries = list(load_card(path)[1].log)
        if name == "log.jsonl":
            assert [json.loads(x) for x in (tmp_path / name).read_text().splitlines()] == entries
        else:
            rows = list(csv.DictReader((tmp_path / name).read_text().splitlines()))
            assert [{k: float(v) for k, v in row.items()} for row in rows] == entries
    with pytest.raises(BadValue, match=r"must end in \.csv or \.jsonl"):
        check_log(Path("log.txt"))


@pytest.mark.usefixtures("one_thread")
def test_where_memory_runs_out_the_step_is_taken_again_in_smaller_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = train(tiny(tmp_path / "a", **ONE_EPOCH), fresh=False, say=silent, accumulate=4)
    inner, tried = NetworkLearner.loss, []

    def limited(
        self: NetworkLearner, batch: Batch, at: Position, tick: Callable[[], None]
    ) -> Lesson:
        lesson = inner(self, batch, at, tick)
        tried.append(len(batch.ids))
        if len(batch.ids) > 4:
            raise torch.OutOfMemoryError
        return lesson

    monkeypatch.setattr(NetworkLearner, "loss", limited)
    path = train(tiny(tmp_path / "b", **ONE_EPOCH), fresh=False, say=silent)
    assert tried == [16, 8] + [4] * 16
    assert equal(path, wanted)
    assert "goes on in 4 pieces (--accumulate 4)" in capsys.readouterr().err.replace("\n", " ")


def test_in_bf16_the_weights_stay_float32_and_the_loss_is_nearly_the_same(tmp_path: Path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        learner = adversarial(tmp_path, precision=precision, attack_precision=precision)
        batch = next(learner.loader.batches(0))
        at = Position()
        adv = learner.images(batch, at, no_tick)
        assert (adv - batch.x).abs().max() <= learner.threat.eps + 1e-6
        assert adv.dtype == torch.float32
        learn(learner, [batch], at, no_tick)
        losses.append(at.sums["loss"] / 16)
        floats = [t for t in learner.net.state_dict().values() if t.is_floating_point()]
        assert {tensor.dtype for tensor in floats} == {torch.float32}
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[0] != losses[1]
    held_out = next(learner.training.held_out.batches(range(8), 8))
    learner.folded_judged.refresh()
    exact = learner.folded_judged.net(held_out.x)
    torch.testing.assert_close(exact, learner.net.eval()(held_out.x), rtol=1e-4, atol=1e-4)
    learner.folded.refresh()
    torch.testing.assert_close(learner.folded.net(held_out.x), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(("has", "asked", "taken"), [
    (True, "auto", "bf16"), (False, "auto", "fp32"), (False, "bf16", "bf16"),
])  # fmt: skip
def test_bf16_is_taken_where_there_is_arithmetic_for_it_and_warned_of_where_not(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    has: bool,
    asked: str,
    taken: str,
) -> None:
    monkeypatch.setattr(start, "has_bf16", lambda device: has)
    monkeypatch.setattr(start, "train", lambda learner, **how: Path(learner.spec.precision))
    settings: dict[str, Any] = {"precision": asked}
    got = train_network(
        ModelSpec("r20", width=2), DataSource(), workspace=Workspace(tmp_path),
        device=torch.device("cpu"), say=silent, **settings,
    )  # fmt: skip
    assert str(got) == taken
    assert ("no bfloat16 arithmetic" in capsys.readouterr().err) == (taken == "bf16" and not has)
