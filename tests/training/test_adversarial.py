import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import killed, steps_learnt

from fdbench.data import Dataset, open_data
from fdbench.errors import BadValue, FdbenchError
from fdbench.models.checkpoint import load_card, save_card
from fdbench.models.load import open_model
from fdbench.specs.model import ModelSpec
from fdbench.specs.training import TrainSpec
from fdbench.store.workspace import Workspace
from fdbench.training.adversarial import AdversarialLearner
from fdbench.training.learner import Lesson
from fdbench.training.loop import learn, train
from fdbench.training.methods import learner_for
from fdbench.training.network import NetworkLearner, Training
from fdbench.training.state import Position, save_state

MODEL = ModelSpec("r20", "nonlocal-dot", width=2, classes=10, px=28)
SPEC = TrainSpec(
    data="fashion-mini",
    epochs=2,
    batch_size=16,
    attack_iters=2,
    probe_iters=2,
    eps=8 / 255,
    alpha=4 / 255,
    lr=0.8,
    targeted=False,
)


@cache
def part(split: str, count: int) -> Dataset:
    """The first images of a split: training takes a second."""
    whole = open_data("fashion-mini", split)
    return replace(whole, ids=whole.ids[:count], labels=whole.labels[:count])


def training(results: Path, **changes: Any) -> Training:
    spec, data = replace(SPEC, **changes), (part("train", 70), part("held-out", 20))
    return Training("tiny", MODEL, spec, *data, Workspace(results), torch.device("cpu"))


def tiny(results: Path, **changes: Any) -> NetworkLearner:
    return learner_for(training(results, **changes))


def adversarial(results: Path, **changes: Any) -> AdversarialLearner:
    return AdversarialLearner(training(results, **changes))


def no_tick() -> None:
    pass


def silent(text: str) -> None:
    pass


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_card(path)[0]


def equal(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_finished_training_loads_as_a_model_with_its_card(tmp_path: Path) -> None:
    path = train(tiny(tmp_path), fresh=False, say=silent)
    model = open_model("tiny", Workspace(tmp_path))
    assert model.card is not None
    assert model.card.finished
    assert model.card.train == SPEC
    assert model.card.spec == MODEL
    assert [entry["epoch"] for entry in model.card.log] == [1, 2]
    assert json.loads(path.with_suffix(".json").read_text())["weights"] == model.weights
    assert not model.net.training
    assert not any(p.requires_grad for p in model.net.parameters())
    assert not list(tmp_path.glob("checkpoints/*.resume"))


def test_the_same_training_twice_gives_the_same_weights_and_another_seed_others(
    tmp_path: Path,
) -> None:
    first = train(tiny(tmp_path / "a"), fresh=False, say=silent)
    assert equal(first, train(tiny(tmp_path / "b"), fresh=False, say=silent))
    assert not equal(first, train(tiny(tmp_path / "c", seed=1), fresh=False, say=silent))


class Stop(Exception):
    pass


@contextmanager
def stopped(step: int) -> Iterator[None]:
    """Ends the training within by an exception, after so many losses."""
    inner, seen = NetworkLearner.loss, 0

    def stop_at(self: NetworkLearner, *args: Any) -> Lesson:
        nonlocal seen
        seen += 1
        if seen > step:
            raise Stop
        return inner(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetworkLearner, "loss", stop_at)
        with pytest.raises(Stop):
            yield


@pytest.mark.parametrize("step", [1, 3, 5, 7])
def test_a_training_stopped_at_any_step_ends_bit_identical_to_an_unstopped_one(
    tmp_path: Path, step: int
) -> None:
    wanted = train(tiny(tmp_path / "calm"), fresh=False, say=silent)
    with stopped(step):
        train(tiny(tmp_path / "stopped"), fresh=False, say=silent, save_every=0.0)
    messages: list[str] = []
    path = train(tiny(tmp_path / "stopped"), fresh=False, say=messages.append)
    assert "continuing tiny" in messages[0]
    assert equal(path, wanted)
    strip = ("images_per_second", "peak_mb")
    logs = [
        [{k: v for k, v in entry.items() if k not in strip} for entry in load_card(p)[1].log]
        for p in (path, wanted)
    ]
    assert logs[0] == logs[1]


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    path = train(tiny(tmp_path), fresh=False, say=silent)
    before = path.stat().st_mtime_ns
    messages: list[str] = []
    train(tiny(tmp_path), fresh=False, say=messages.append)
    assert "nothing left to do" in messages[0]
    assert path.stat().st_mtime_ns == before


def test_another_setting_under_the_same_name_is_refused_by_name(tmp_path: Path) -> None:
    train(tiny(tmp_path), fresh=False, say=silent)
    with pytest.raises(BadValue, match=r"epochs is 2 there, 3 now.*\n.*--fresh"):
        train(tiny(tmp_path, epochs=3), fresh=False, say=silent)
    path = train(tiny(tmp_path, epochs=1), fresh=True, say=silent)
    assert load_card(path)[1].epochs == 1


def test_a_training_does_not_overwrite_imported_weights(tmp_path: Path) -> None:
    path = train(tiny(tmp_path), fresh=False, say=silent)
    tensors, card = load_card(path)
    imported = replace(card, train=None, data={"name": "imagenet"}, source="their release")
    save_card(path, tensors, imported)
    with pytest.raises(BadValue, match=r"comes from their release.\nGive this training another"):
        train(tiny(tmp_path), fresh=False, say=silent)
    assert load_card(path)[1] == imported


def test_a_loss_that_is_not_finite_stops_training_and_keeps_the_last_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.nn.functional.cross_entropy
    calls = 0

    def poisoned(logits: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal calls
        loss = real(logits, *args, **kwargs)
        if "label_smoothing" in kwargs:
            calls += 1
        return loss * float("nan") if calls > 5 and "label_smoothing" in kwargs else loss

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", poisoned)
    with pytest.raises(FdbenchError, match=r"epoch 2, batch 2.*not finite"):
        train(tiny(tmp_path), fresh=False, say=silent)
    model = open_model("tiny", Workspace(tmp_path))
    assert model.card is not None
    assert model.card.epochs == 1
    assert not model.card.finished
    assert all(torch.isfinite(t).all() for t in model.net.state_dict().values())


def test_attacks_update_no_batch_norm_statistics_and_learning_does(tmp_path: Path) -> None:
    learner = adversarial(tmp_path)
    batch = next(learner.loader.batches(0))
    before = {name: t.clone() for name, t in learner.net.state_dict().items()}
    learner.images(batch, Position(), no_tick)
    assert all(torch.equal(before[name], t) for name, t in learner.net.state_dict().items())
    learn(learner, [batch], Position(), no_tick)
    moved = [n for n, t in learner.net.state_dict().items() if not torch.equal(before[n], t)]
    assert any(name.endswith("running_mean") for name in moved)


def test_training_images_are_adversarial_and_legal(tmp_path: Path) -> None:
    learner = adversarial(tmp_path, clean_start=0.0)
    batch = next(learner.loader.batches(0))
    adv = learner.images(batch, Position(), no_tick)
    moved = (adv - batch.x).abs().flatten(1).amax(1)
    assert (moved > 0.5 * 8 / 255).all()
    assert moved.max() <= 8 / 255 + 1e-6
    clean = tiny(tmp_path, clean=True)
    assert torch.equal(clean.images(batch, Position(), no_tick), batch.x)


def test_a_share_of_the_batches_starts_clean(tmp_path: Path) -> None:
    """With one step of the whole radius, a clean start ends on the ball's corners or the box."""
    learner = adversarial(tmp_path, attack_iters=1, alpha=8 / 255, clean_start=0.5)
    batch = next(learner.loader.batches(0))
    corners = []
    for step in range(40):
        moved = (learner.images(batch, Position(step=step), no_tick) - batch.x).abs()
        inside = (batch.x > 8 / 255) & (batch.x < 1 - 8 / 255) & (moved > 0)
        corners.append(bool((moved[inside] > 7.9 / 255).all()))
    assert 10 <= sum(corners) <= 30


def test_the_learning_rate_is_the_papers_for_the_papers_batch() -> None:
    paper = TrainSpec(batch_size=4096)
    assert paper.peak_lr == pytest.approx(1.6)
    assert paper.lr_at(0.0) == pytest.approx(0.1)
    assert paper.lr_at(2.5 / 110) == pytest.approx(0.85)
    for epoch, lr in ((5, 1.6), (34.9, 1.6), (35.1, 0.16), (70.1, 0.016), (95.1, 0.0016)):
        assert paper.lr_at(epoch / 110) == pytest.approx(lr)
    assert TrainSpec(batch_size=256).lr_at(0.0) == pytest.approx(0.1)  # no warm-up to 0.1


def test_weight_decay_acts_on_weights_only(tmp_path: Path) -> None:
    decayed, plain = tiny(tmp_path).optimiser.param_groups
    assert decayed["weight_decay"] == SPEC.weight_decay
    assert plain["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in plain["params"])


_SLOW = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from test_adversarial import silent, tiny
from fdbench.training.loop import train
from fdbench.training.network import NetworkLearner
inner = NetworkLearner.loss
def slow(self, *args):
    time.sleep(0.2)
    return inner(self, *args)
NetworkLearner.loss = slow
train(tiny(Path(sys.argv[1])), fresh=False, say=silent, save_every=0.0)
"""


@pytest.mark.usefixtures("one_thread")
def test_kill_9_in_the_middle_of_training_changes_nothing(tmp_path: Path) -> None:
    wanted = train(tiny(tmp_path / "calm"), fresh=False, say=silent)
    again = tiny(tmp_path / "killed")
    killed(lambda: steps_learnt(again.state, 4) >= 2, "-c", _SLOW, str(tmp_path / "killed"))
    assert 2 <= steps_learnt(again.state, 4) < 8
    assert equal(train(again, fresh=False, say=silent), wanted)


def test_a_training_without_momentum_is_resumed_too(tmp_path: Path) -> None:
    wanted = train(tiny(tmp_path / "calm", momentum=0.0), fresh=False, say=silent)
    stopped = tiny(tmp_path / "stopped", momentum=0.0)
    assert not stopped.optimiser.param_groups[0]["nesterov"]
    learn(stopped, [next(stopped.loader.batches(0))], at := Position(), no_tick)
    save_state(stopped.state, stopped.net, stopped.optimiser, stopped.identity, at)
    again = tiny(tmp_path / "stopped", momentum=0.0)
    assert equal(train(again, fresh=False, say=silent), wanted)
