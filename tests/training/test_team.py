"""Several processes train one network: what changes with their number, and what does not."""

import os
import shutil
import signal
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import together
from test_adversarial import MODEL, SPEC, equal, part, silent, weights

from fdbench.errors import BadValue, FdbenchError
from fdbench.models.checkpoint import load_card
from fdbench.specs.training import TrainSpec
from fdbench.store.workspace import Workspace
from fdbench.training.adversarial import AdversarialLearner
from fdbench.training.learner import Lesson
from fdbench.training.loader import shares
from fdbench.training.loop import train
from fdbench.training.methods import learner_for
from fdbench.training.network import NetworkLearner, Training
from fdbench.training.state import Position
from fdbench.training.team import ALONE, LostContact, Team, team_on
from fdbench.types import Batch

CPU = torch.device("cpu")
Ids = tuple[Any, ...]


def learner_in(results: Path, changes: dict[str, Any]) -> NetworkLearner:
    spec = TrainSpec(**{**vars(SPEC), **changes})
    data = (part("train", 70), part("held-out", 20))
    return learner_for(Training("tiny", MODEL, spec, *data, Workspace(results), CPU))


def trained(results: Path, changes: dict[str, Any], accumulate: int = 1) -> str:
    """Trains in this process of a team, saving the state at each step; returns its error."""
    with team_on(CPU) as team:
        learner = learner_in(results, changes)
        try:
            train(
                learner, fresh=False, say=silent, save_every=0.0, team=team, accumulate=accumulate
            )
        except FdbenchError as reason:
            if isinstance(reason, LostContact):
                raise
            return reason.message
    return ""


def noted(results: Path, changes: dict[str, Any], die_at: int = -1, rank: int = -1) -> list[Ids]:
    """Trains as `trained`; notes each batch's ids in a file, and is killed at a step."""
    inner, steps = NetworkLearner.loss, 0

    def noting(
        self: NetworkLearner, batch: Batch, at: Position, tick: Callable[[], None]
    ) -> Lesson:
        nonlocal steps
        if steps == die_at and rank in (-1, int(os.environ.get("RANK", 0))):
            os.kill(os.getpid(), signal.SIGKILL)
        steps += 1
        with (results.parent / "seen.txt").open("a") as file:
            file.write(f"{at.epoch} {at.step} {' '.join(map(str, batch.ids))}\n")
        return inner(self, batch, at, tick)

    NetworkLearner.loss = noting  # type: ignore[method-assign]
    trained(results, changes)
    return []


def images_made(changes: dict[str, Any]) -> dict[Any, tuple[list[float], int]]:
    """The first batch's adversarial images and targets in this process, by image."""
    with team_on(CPU) as team:
        learner = learner_in(Path("unused"), changes)
        assert isinstance(learner, AdversarialLearner)
        batch = next(learner.loader.pieces(0, 0, team, 1))
        at = Position()
        adv = learner.images(batch, at, lambda: None)
        target = learner.target(batch, learner.stream(at))
        assert target is not None
    return {one: (adv[n].flatten().tolist(), int(target[n])) for n, one in enumerate(batch.ids)}


def by_image(answers: list[dict[Any, Any]]) -> dict[Any, Any]:
    return dict(chain.from_iterable(answer.items() for answer in answers))


def test_the_number_of_processes_changes_neither_targets_nor_starts() -> None:
    """A step of almost no length leaves the start."""
    changes = {"targeted": True, "attack_iters": 1, "alpha": 1e-6, "clean_start": 0.0}
    alone = images_made(changes)
    several = by_image(together(3, images_made, changes))
    assert several.keys() == alone.keys()
    assert len(alone) == SPEC.batch_size
    for one, (adv, target) in alone.items():
        assert several[one][0] == pytest.approx(adv, abs=3e-6)
        assert several[one][1] == target


def log_of(results: Path) -> list[dict[str, Any]]:
    return list(load_card(results / "checkpoints" / "tiny.safetensors")[1].log)


def same_training(one: Path, other: Path, tolerance: float) -> None:
    """Asserts that two trainings agree within rounding: losses, statistics and weights."""
    for mine, its in zip(log_of(one), log_of(other), strict=True):
        assert mine["loss"] == pytest.approx(its["loss"], rel=tolerance)
    here, there = (weights(path / "checkpoints" / "tiny.safetensors") for path in (one, other))
    for name, tensor in here.items():
        torch.testing.assert_close(there[name], tensor, atol=30 * tolerance, rtol=30 * tolerance)


KILLED_AT = 2
FOLDERS = ("calm", "killed")
ONE_EPOCH = {"epochs": 1}
EPOCH = {"epochs": 1, "lr": 0.1}  # short and gentle: rounding does not grow to a difference


@pytest.mark.usefixtures("one_thread")
def test_with_batch_norm_in_common_three_processes_learn_what_one_does(tmp_path: Path) -> None:
    changes = {**EPOCH, "sync_bn": True, "clean": True}
    assert trained(tmp_path / "one", changes) == ""
    assert together(3, trained, tmp_path / "more", changes) == [""] * 3
    same_training(tmp_path / "one", tmp_path / "more", 1e-5)


@pytest.mark.usefixtures("one_thread")
def test_two_processes_learn_what_one_does_in_two_pieces_and_not_in_one(tmp_path: Path) -> None:
    """Batch norm sees the same eight images in both: nothing but rounding is left."""
    assert trained(tmp_path / "pieces", EPOCH, 2) == ""
    assert together(2, trained, tmp_path / "two", EPOCH) == ["", ""]
    same_training(tmp_path / "pieces", tmp_path / "two", 1e-4)
    assert log_of(tmp_path / "two")[0]["processes"] == 2
    assert "processes" not in log_of(tmp_path / "pieces")[0]
    assert trained(tmp_path / "whole", EPOCH) == ""
    with pytest.raises(AssertionError):
        same_training(tmp_path / "whole", tmp_path / "two", 1e-4)


def seen_twice_or_never(results: Path) -> list[str]:
    """What is wrong with the notes of `noted`: the last pieces of each step are what it learnt."""
    loader = learner_in(results, {}).loader
    seen: dict[tuple[int, int], list[int]] = {}
    for line in (results.parent / "seen.txt").read_text().splitlines():
        epoch, step, *ids = map(int, line.split())
        seen.setdefault((epoch, step), []).extend(ids)
    wrong = []
    for step, batch in enumerate(loader.batches(0)):
        have = seen.get((0, step), [])
        redone = step == KILLED_AT  # by those that were killed, and again
        if sorted(set(have) if redone else have) != sorted(batch.ids):
            wrong.append(f"step {step}: {have}, not {batch.ids}")
    return wrong


@pytest.mark.usefixtures("one_thread")
def test_one_process_killed_in_mid_epoch_three_or_one_go_on_where_the_state_is(
    tmp_path: Path,
) -> None:
    results = tmp_path / "results"
    assert together(2, noted, results, ONE_EPOCH, KILLED_AT, 1)[1] == -signal.SIGKILL
    assert (results / "checkpoints" / "tiny.resume").exists()
    shutil.copytree(results, tmp_path / "other")
    before = len(_lines(results))
    assert together(3, noted, results, ONE_EPOCH) == [[]] * 3
    assert seen_twice_or_never(results) == []
    assert _lines(results)[before].startswith(f"0 {KILLED_AT} "), (
        "it goes on where the state was saved"
    )
    assert trained(tmp_path / "other", ONE_EPOCH) == ""
    for one in (results, tmp_path / "other"):
        assert load_card(one / "checkpoints" / "tiny.safetensors")[1].finished
        assert not (one / "checkpoints" / "tiny.resume").exists()


def _lines(results: Path) -> list[str]:
    return (results.parent / "seen.txt").read_text().splitlines()


@pytest.mark.usefixtures("one_thread")
def test_two_processes_killed_and_continued_end_bit_identical(tmp_path: Path) -> None:
    changes = {"average": 0.9, **ONE_EPOCH}
    assert together(2, trained, tmp_path / "calm", changes) == ["", ""]
    assert together(2, noted, tmp_path / "killed", changes, KILLED_AT) == [-signal.SIGKILL] * 2
    assert together(2, trained, tmp_path / "killed", changes) == ["", ""]
    calm, killed = (tmp_path / one / "checkpoints" / "tiny.safetensors" for one in FOLDERS)
    assert equal(calm, killed)


def poisoned(results: Path) -> str:
    """Trains; this process's third loss is not finite, if it is the second process."""
    inner, calls = NetworkLearner.loss, 0

    def poison(self: NetworkLearner, *args: Any) -> Lesson:
        nonlocal calls
        calls += 1
        lesson = inner(self, *args)
        bad = calls == 3 and os.environ["RANK"] == "1"
        return Lesson(lesson.loss * float("nan"), lesson.counts) if bad else lesson

    NetworkLearner.loss = poison  # type: ignore[method-assign,assignment]
    return trained(results, {})


def test_a_loss_that_is_not_finite_in_one_process_stops_all_with_the_same_error(
    tmp_path: Path,
) -> None:
    one, other = together(2, poisoned, tmp_path)
    assert one == other
    assert "epoch 1, batch 3" in one
    assert (tmp_path / "checkpoints" / "tiny.resume").exists()


def starved(results: Path, changes: dict[str, Any], where: str = "loss") -> tuple[str, int]:
    """Trains; memory runs out once in the second process, in the loss or in the last backward.

    Returns its error, and how many images the last piece had.
    """
    calls, seen, inner = 0, [0], NetworkLearner.loss

    def starve(self: NetworkLearner, batch: Batch, *rest: Any) -> Lesson:
        nonlocal calls
        calls += 1
        seen.append(len(batch.ids))
        lesson = inner(self, batch, *rest)
        if calls == 3 and os.environ["RANK"] == "1":
            if where == "loss":
                raise torch.OutOfMemoryError
            lesson.loss.register_hook(starves)  # type: ignore[no-untyped-call]
        return lesson

    def starves(grad: torch.Tensor) -> None:
        raise torch.OutOfMemoryError

    NetworkLearner.loss = starve  # type: ignore[method-assign,assignment]
    try:
        with team_on(CPU) as team:
            learner = learner_in(results, changes)
            train(learner, fresh=False, say=silent, save_every=0.0, team=team)
    except FdbenchError as reason:
        return reason.message, seen[-1]
    return "", seen[-1]


def test_where_memory_runs_out_in_one_process_all_go_on_in_smaller_pieces(tmp_path: Path) -> None:
    assert together(2, starved, tmp_path, {"epochs": 1}) == [("", 4), ("", 4)]  # of 16: 2 x 2 x 4
    card = load_card(tmp_path / "checkpoints" / "tiny.safetensors")[1]
    assert card.finished
    assert [entry["epoch"] for entry in card.log] == [1]


@pytest.mark.parametrize(("changes", "where"), [({}, "backward"), ({"sync_bn": True}, "loss")])
def test_memory_that_runs_out_between_processes_ends_all_and_the_error_says_how_to_go_on(
    changes: dict[str, Any], where: str, tmp_path: Path
) -> None:
    (other, _), (one, _) = together(2, starved, tmp_path, changes, where)
    assert "another process of this training is gone" in other
    assert "out of memory with a piece of 8 images" in one
    assert "--accumulate 2 continues" in one
    assert trained(tmp_path, changes, 4) == ""
    assert load_card(tmp_path / "checkpoints" / "tiny.safetensors")[1].finished


def test_a_batch_is_divided_evenly_and_refused_where_a_part_would_be_empty() -> None:
    for count, parts in ((16, 3), (128, 3), (7, 7), (4096, 128)):
        sizes = [len(one) for one in shares(count, parts)]
        assert sum(sizes) == count
        assert max(sizes) - min(sizes) <= 1
        assert [i for one in shares(count, parts) for i in one] == list(range(count))
    with pytest.raises(BadValue, match="16 images can't be divided into 17 parts"):
        shares(16, 17)


def test_pieces_of_one_process_are_those_of_several(tmp_path: Path) -> None:
    loader = learner_in(tmp_path, {}).loader
    alone = [batch.ids for batch in loader.pieces(0, 1, ALONE, 6)]
    for world in (2, 3, 6):
        count = 6 // world
        ranks = [list(loader.pieces(0, 1, Team(r, world), count)) for r in range(world)]
        steps = [
            ranks[rank][step * count + piece].ids
            for step in range(loader.steps - 1)
            for rank in range(world)
            for piece in range(count)
        ]
        assert steps == alone


def test_processes_that_cannot_find_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(BadValue, match="no MASTER_ADDR"), team_on(CPU):
        pass
