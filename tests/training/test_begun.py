"""A training that is stopped within a batch goes on with its next piece."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_adversarial import equal, silent, stopped, tiny

from fdbench.models.checkpoint import load_card
from fdbench.training.learner import Lesson
from fdbench.training.loop import train
from fdbench.training.network import NetworkLearner

ONE_EPOCH = {"epochs": 1}  # four batches of 16 images


@contextmanager
def counted() -> Iterator[list[int]]:
    """Yields the sizes of the pieces that are learnt within."""
    inner, sizes = NetworkLearner.loss, list[int]()

    def counting(self: NetworkLearner, batch: Any, *rest: Any) -> Lesson:
        sizes.append(len(batch.ids))
        return inner(self, batch, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetworkLearner, "loss", counting)
        yield sizes


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("piece", [1, 3, 4, 6, 15])
def test_a_training_stopped_within_a_batch_goes_on_with_its_next_piece(
    piece: int, tmp_path: Path
) -> None:
    shared: dict[str, Any] = {"fresh": False, "accumulate": 4}
    wanted = train(tiny(tmp_path / "calm", **ONE_EPOCH), say=silent, **shared)
    with stopped(piece):
        train(tiny(tmp_path / "b", **ONE_EPOCH), say=silent, save_every=0.0, **shared)
    messages: list[str] = []
    with counted() as losses:
        path = train(tiny(tmp_path / "b", **ONE_EPOCH), say=messages.append, **shared)
    assert len(losses) == 16 - piece  # four batches of four pieces
    within = f"batch {piece // 4} of 4" + (f", piece {piece % 4} of 4" if piece % 4 else "")
    assert messages[0].endswith(within)
    assert equal(path, wanted)
    logs = [load_card(one)[1].log[0] for one in (path, wanted)]
    assert logs[0]["loss"] == logs[1]["loss"]
    assert logs[0]["train_accuracy"] == logs[1]["train_accuracy"]


@pytest.mark.usefixtures("one_thread")
def test_a_batch_begun_in_other_pieces_is_learnt_from_its_beginning(tmp_path: Path) -> None:
    wanted = train(tiny(tmp_path / "a", **ONE_EPOCH), fresh=False, say=silent, accumulate=2)
    with stopped(3):
        train(
            tiny(tmp_path / "b", **ONE_EPOCH), fresh=False, say=silent, save_every=0.0, accumulate=4
        )
    with counted() as losses:
        path = train(tiny(tmp_path / "b", **ONE_EPOCH), fresh=False, say=silent, accumulate=2)
    assert len(losses) == 8
    assert equal(path, wanted)
