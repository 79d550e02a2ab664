"""Free adversarial training against its algorithm, written out here."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from ranks import together
from test_adversarial import equal, no_tick, silent, stopped, tiny, training
from test_recipes import mostly_equal
from test_team import same_training, trained

from fdbench import randomness
from fdbench.errors import BadValue
from fdbench.specs.training import TrainSpec
from fdbench.training.free import FreeLearner
from fdbench.training.learner import Lesson
from fdbench.training.loop import learn, train
from fdbench.training.network import NetworkLearner
from fdbench.training.settings import resolve
from fdbench.training.state import Position
from fdbench.types import Batch, Images

EPS = 8 / 255
FREE: dict[str, Any] = {"method": "free", "attack_iters": 3, "alpha": EPS, "epochs": 1}


def start_of(batch: Batch) -> Images:
    """A random point of each image's ball."""
    unit = torch.from_numpy(randomness.uniform(0, "train-0", batch.ids, (1 + batch.x[0].numel(),)))
    noise = EPS * (2 * unit[:, :-1].reshape(batch.x.shape) - 1)
    return (batch.x + noise.clamp(-EPS, EPS)).clamp(0, 1) - batch.x


def test_free_is_the_authors_algorithm_from_a_random_start(tmp_path: Path) -> None:
    """Shafahi et al. 2019, Alg. 1: m steps on a batch, one backward pass for both gradients."""
    learner = FreeLearner(training(tmp_path, **FREE, label_smoothing=0.0, momentum=0.0, lr=0.1))
    net = copy.deepcopy(learner.net).train()
    spec, at, seen = learner.spec, Position(), []
    stream = learner.loader.batches(0)
    inner = learner.images

    def noting(batch: Batch, at: Position, tick: Callable[[], None]) -> Images:
        seen.append(inner(batch, at, tick).detach().clone())
        return inner(batch, at, tick)

    learner.images = noting  # type: ignore[method-assign]
    for step in range(6):
        batch = next(stream)
        if step % 3 == 0:
            delta = start_of(batch)
        delta = delta.detach().requires_grad_()
        net.zero_grad()
        F.cross_entropy(net(batch.x + delta), batch.label).backward()  # type: ignore[no-untyped-call]
        learn(learner, [batch], at, no_tick)
        mostly_equal(seen[-1], (batch.x + delta).detach())
        assert delta.grad is not None
        with torch.no_grad():
            for weight in net.parameters():
                assert weight.grad is not None
                decay = spec.weight_decay if weight.ndim > 1 else 0
                rate = spec.lr_at(step / (learner.loader.steps * learner.epochs))
                weight.sub_(rate * (weight.grad + decay * weight))
            moved = (delta + EPS * delta.grad.sign()).clamp(-EPS, EPS)
            delta = (batch.x + moved).clamp(0, 1) - batch.x
    for mine, its in zip(learner.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-2, atol=1e-3)


def test_an_epoch_takes_each_batch_for_as_many_steps(tmp_path: Path) -> None:
    loader = tiny(tmp_path, **FREE).loader
    once = [batch.ids for batch in tiny(tmp_path).loader.batches(0)]
    wanted = [ids for ids in once for _ in range(3)]
    assert loader.steps == len(wanted) == 12
    for step in (0, 4, 5, 11):
        assert [batch.ids for batch in loader.batches(0, step)] == wanted[step:]


@pytest.mark.parametrize("step", [2, 3, 4, 10])
def test_a_stopped_free_training_goes_on_at_the_start_of_a_batch_and_ends_bit_identical(
    tmp_path: Path, step: int
) -> None:
    wanted = train(tiny(tmp_path / "calm", **FREE), fresh=False, say=silent)
    with stopped(step):
        train(tiny(tmp_path / "stopped", **FREE), fresh=False, say=silent, save_every=0.0)
    said: list[str] = []
    path = train(tiny(tmp_path / "stopped", **FREE), fresh=False, say=said.append)
    assert f"batch {step // 3 * 3} of 12" in said[0]
    assert equal(path, wanted)


@pytest.mark.usefixtures("one_thread")
def test_where_memory_runs_out_within_a_batch_its_images_go_on_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, left = NetworkLearner.loss, 4
    starts: dict[Any, list[Images]] = {}

    def limited(
        self: NetworkLearner, batch: Batch, at: Position, tick: Callable[[], None]
    ) -> Lesson:
        nonlocal left
        left -= 1
        lesson = inner(self, batch, at, tick)
        assert isinstance(self, FreeLearner)
        for image, adv in zip(batch.ids, self.learning[batch.ids][1], strict=True):
            starts.setdefault((at.step, image), []).append(adv.detach().clone())
        if left < 0 and len(batch.ids) > 8:
            raise torch.OutOfMemoryError
        return lesson

    monkeypatch.setattr(NetworkLearner, "loss", limited)
    train(tiny(tmp_path, **FREE), fresh=False, say=silent)
    twice = {key: found for key, found in starts.items() if len(found) == 2}
    assert {step for step, _ in twice} == {4}
    assert len(twice) == 16
    assert all(torch.equal(*found) for found in twice.values())


@pytest.mark.usefixtures("one_thread")
def test_two_processes_learn_free_what_one_does_in_two_pieces(tmp_path: Path) -> None:
    changes = {**FREE, "lr": 0.1, "attack_iters": 2, "alpha": 1e-6}  # no sign that rounding turns
    assert trained(tmp_path / "pieces", changes, 2) == ""
    assert together(2, trained, tmp_path / "two", changes) == ["", ""]
    same_training(tmp_path / "pieces", tmp_path / "two", 1e-4)


def test_settings_that_free_leaves_without_effect_are_refused() -> None:
    model = training(Path("unused")).model
    for settings in ({"clean_start": 0.5}, {"attack_precision": "bf16"}):
        with pytest.raises(BadValue, match="has nothing to act on: it belongs to --method"):
            resolve(model, "fashion-mini", {"recipe": "free", **settings})  # type: ignore[typeddict-item]
    with pytest.raises(BadValue, match="free has no targets"):
        TrainSpec(method="free", targeted=True)
