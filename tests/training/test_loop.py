"""A learner defined in this file: all that a new kind of training needs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from fdbench.data import Dataset, open_data
from fdbench.errors import BadValue, FdbenchError
from fdbench.store.tensors import read_tensors, write_tensors
from fdbench.training.learner import Learner, Lesson
from fdbench.training.loader import Loader
from fdbench.training.loop import learn, train
from fdbench.training.state import Entry, Identity, Position, refuse_other
from fdbench.types import Batch

IMAGES, BATCH, EPOCHS = 70, 16, 3


def part() -> Dataset:
    whole = open_data("fashion-mini", "train")
    return replace(whole, ids=whole.ids[:IMAGES], labels=whole.labels[:IMAGES])


class Brightness(Learner):
    """Learns an image's mean brightness with a linear map; the log holds how many come close."""

    timed = False
    rates: ClassVar[Mapping[str, str]] = {"close": "close"}
    labels: ClassVar[Mapping[str, str]] = {"close": "close"}

    def __init__(self, folder: Path, lr: float = 0.01) -> None:
        self.lr = lr
        self.scores: list[float] = []
        super().__init__(
            "bright",
            weights=folder / "bright.safetensors",
            state=folder / "bright.resume",
            device=torch.device("cpu"),
            loader=Loader(part(), IMAGES, BATCH, 0, "order", augment=False),
            epochs=EPOCHS,
        )

    @cached_property
    def net(self) -> nn.Module:
        net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 1, bias=False))
        for parameter in net.parameters():
            nn.init.zeros_(parameter)
        return net

    @cached_property
    def optimiser(self) -> torch.optim.Adam:
        return torch.optim.Adam(self.net.parameters())

    @property
    def identity(self) -> Identity:
        return {"lr": self.lr}

    def lr_at(self, progress: float) -> float:
        return self.lr * (1 - progress)

    def loss(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Lesson:
        missed: Tensor = self.net(batch.x)[:, 0] - batch.x.mean((1, 2, 3))
        return Lesson(missed.square().mean(), {"close": (missed.detach().abs() < 0.1).sum()})

    def finished(self) -> bool:
        if not self.weights.exists():
            return False
        meta = read_tensors(self.weights)[1]
        refuse_other(self.identity, json.loads(meta["identity"]), self.weights)
        return True

    def finish(self, at: Position) -> None:
        meta = {"identity": json.dumps(self.identity), "log": json.dumps(at.log)}
        write_tensors(self.weights, self.net.state_dict(), meta)


class Selected(Brightness):
    """The same, keeping the epoch with the best score in `given`."""

    given = (0.2, 0.7, 0.5)

    def probe(self) -> Entry:
        return {"held_out": self.given[len(self.scores)]}

    def score(self, entry: Entry) -> float:
        self.scores.append(float(entry["held_out"]))
        return self.scores[-1]

    def keep(self, at: Position) -> None:
        write_tensors(self.weights, self.net.state_dict(), {"epochs": str(at.epoch)})

    def finish(self, at: Position) -> None:
        pass


def silent(text: str) -> None:
    pass


def test_a_new_learner_trains_and_finishes_with_its_log_and_without_leftovers(
    tmp_path: Path,
) -> None:
    messages: list[str] = []
    path = train(Brightness(tmp_path), fresh=False, say=messages.append)
    log = json.loads(read_tensors(path)[1]["log"])
    assert [entry["epoch"] for entry in log] == [1, 2, 3]
    assert [list(entry) for entry in log] == [["epoch", "loss", "close"]] * 3
    assert log[-1]["loss"] < log[0]["loss"] / 2
    assert [line.split("  ")[0] for line in messages] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert list(tmp_path.iterdir()) == [path]


class Stop(Exception):
    pass


class Stopped(Brightness):
    """The same, interrupted after `after` batches."""

    def __init__(self, folder: Path, after: int, lr: float = 0.01) -> None:
        super().__init__(folder, lr)
        self.left = after

    def loss(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Lesson:
        self.left -= 1
        if self.left < 0:
            raise Stop
        return super().loss(batch, at, tick)


@pytest.mark.parametrize("step", [0, 3, 4, 9])
def test_a_new_learner_resumes_bit_identically(tmp_path: Path, step: int) -> None:
    for folder in ("calm", "stopped"):
        (tmp_path / folder).mkdir()
    wanted = train(Brightness(tmp_path / "calm"), fresh=False, say=silent)
    with pytest.raises(Stop):
        train(Stopped(tmp_path / "stopped", step), fresh=False, say=silent, save_every=0.0)
    messages: list[str] = []
    path = train(Brightness(tmp_path / "stopped"), fresh=False, say=messages.append)
    assert messages[0] == f"continuing bright at epoch {step // 4 + 1}, batch {step % 4} of 4"
    (wanted_weights, wanted_log), (weights, log) = read_tensors(wanted), read_tensors(path)
    assert wanted_log == log
    assert all(torch.equal(wanted_weights[name], weights[name]) for name in wanted_weights)


def test_finished_and_unfinished_files_of_another_training_are_refused(
    tmp_path: Path,
) -> None:
    train(Brightness(tmp_path), fresh=False, say=silent)
    messages: list[str] = []
    train(Brightness(tmp_path), fresh=False, say=messages.append)
    assert "nothing left to do" in messages[0]
    with pytest.raises(BadValue, match=r"lr is 0.01 there, 0.02 now"):
        train(Brightness(tmp_path, lr=0.02), fresh=False, say=silent)
    with pytest.raises(Stop):
        train(Stopped(tmp_path, 0, lr=0.02), fresh=True, say=silent)
    with pytest.raises(BadValue, match=r"lr is 0.02 there, 0.01 now"):
        train(Brightness(tmp_path), fresh=False, say=silent)


def test_the_epoch_with_the_best_score_is_kept(tmp_path: Path) -> None:
    messages: list[str] = []
    path = train(Selected(tmp_path), fresh=False, say=messages.append)
    assert read_tensors(path)[1]["epochs"] == "2"
    assert [line.endswith("  kept") for line in messages] == [True, True, False]


def test_the_learning_rate_follows_the_progress_of_the_training(tmp_path: Path) -> None:
    learner = Brightness(tmp_path)
    batch = next(learner.loader.batches(0))
    learn(learner, [batch], Position(epoch=1, step=2), lambda: None)
    assert learner.optimiser.param_groups[0]["lr"] == pytest.approx(0.01 * (1 - 6 / 12))


OLD = {  # positions as the first version wrote them, of a network and of a generator
    "network": {
        "epoch": 1,
        "step": 2,
        "loss": 3.5,
        "correct": 7,
        "seconds": 0.25,
        "best": 0.5,
        "log": [{"epoch": 1, "loss": 2.0}],
    },
    "generator": {"epoch": 0, "step": 3, "loss": 1.5, "fooled": 4, "log": []},
}


@pytest.mark.parametrize("kind", OLD)
def test_positions_of_the_first_version_are_read_and_written_unchanged(kind: str) -> None:
    at = Position.of_json(json.dumps(OLD[kind]))
    assert at.step == OLD[kind]["step"]
    assert at.sums["loss"] == OLD[kind]["loss"]
    assert json.loads(at.to_json()) == OLD[kind]


def test_an_epoch_drops_its_incomplete_batch_and_resumes_where_it_stopped() -> None:
    loader = Loader(part(), IMAGES, BATCH, 0, "order", augment=False)
    whole = [batch.ids for batch in loader.batches(1)]
    assert [len(ids) for ids in whole] == [16] * 4
    assert [batch.ids for batch in loader.batches(1, 2)] == whole[2:]
    assert [batch.ids for batch in loader.batches(0)] != whole


def test_a_second_process_of_the_same_training_is_refused(tmp_path: Path) -> None:
    class Second(Stopped):
        def loss(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Lesson:
            with pytest.raises(FdbenchError, match="another process is training bright"):
                train(Brightness(tmp_path), fresh=True, say=silent)
            return super().loss(batch, at, tick)

    with pytest.raises(Stop):
        train(Second(tmp_path, 2), fresh=False, say=silent)
    assert train(Brightness(tmp_path), fresh=False, say=silent).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["bright.safetensors"]


@pytest.mark.parametrize("place", [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_damaged_state_is_named_set_aside_and_trained_again(
    tmp_path: Path, place: float, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("calm", "stopped"):
        (tmp_path / folder).mkdir()
    wanted = train(Brightness(tmp_path / "calm"), fresh=False, say=silent)
    with pytest.raises(Stop):
        train(Stopped(tmp_path / "stopped", 5), fresh=False, say=silent, save_every=0.0)
    state = tmp_path / "stopped" / "bright.resume"
    content = bytearray(state.read_bytes())
    content[int(place * len(content))] ^= 4
    state.write_bytes(content)
    path = train(Brightness(tmp_path / "stopped"), fresh=False, say=silent)
    assert "bright.resume.damaged" in capsys.readouterr().err.replace("\n", " ")
    assert state.with_name("bright.resume.damaged").read_bytes() == content
    (wanted_weights, wanted_log), (weights, log) = read_tensors(wanted), read_tensors(path)
    assert wanted_log == log
    assert all(torch.equal(wanted_weights[name], weights[name]) for name in wanted_weights)
