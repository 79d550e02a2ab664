"""Extra training images from a file: which are learnt when, and what is recorded."""

from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_adversarial import MODEL, equal, part, silent, stopped, training

from fdbench.commands.train import train as command
from fdbench.data import Augment, open_data
from fdbench.data.joined import joined
from fdbench.errors import BadValue
from fdbench.models.checkpoint import load_card
from fdbench.training.loader import Loader
from fdbench.training.loop import train
from fdbench.training.methods import learner_for
from fdbench.training.network import NetworkLearner, Training
from fdbench.training.settings import resolve
from fdbench.training.team import ALONE, Team

EXTRA = 23


def extra_file(folder: Path, px: int = 28, highest: int = 9, seed: int = 0) -> Path:
    """Images of noise, each with the label (3 n) % 10."""
    folder.mkdir(exist_ok=True)
    x = np.random.default_rng(seed).integers(0, 256, (EXTRA, px, px, 3), np.uint8)
    y = np.minimum(np.arange(EXTRA) * 3 % 10, highest)
    np.savez(folder / "more.npz", x=x, y=y)
    return folder / "more.npz"


def loader(folder: Path, batch: int = 16, share: float = 0.3) -> Loader:
    data = joined(part("train", 70), open_data(f"npz:{extra_file(folder)}"))
    return Loader(data, 70, batch, 0, "order", augment=False, extra=EXTRA, share=share)


def is_extra(image: Any) -> bool:
    return str(image).startswith("extra:")


def test_each_batch_has_its_share_and_an_epoch_is_a_pass_over_the_own_images(
    tmp_path: Path,
) -> None:
    mixed = loader(tmp_path)
    assert (mixed.added, mixed.steps) == (5, 6)  # 70 // 11
    for epoch in (0, 1):
        batches = [batch.ids for batch in mixed.batches(epoch)]
        assert [len(ids) for ids in batches] == [16] * 6
        assert [sum(map(is_extra, ids)) for ids in batches] == [5] * 6
        own = [one for one in chain(*batches) if not is_extra(one)]
        assert len(set(own)) == len(own) == 66
        assert set(own) <= set(part("train", 70).ids)


def test_extra_images_come_in_passes_that_epochs_only_interrupt(tmp_path: Path) -> None:
    mixed = loader(tmp_path)
    seen = [
        one
        for epoch in range(8)
        for batch in mixed.batches(epoch)
        for one in batch.ids
        if is_extra(one)
    ]
    assert len(seen) == 8 * 6 * 5
    passes = [seen[at : at + EXTRA] for at in range(0, len(seen) - EXTRA, EXTRA)]
    assert all(len(set(one)) == EXTRA for one in passes)
    assert passes[0] != passes[1]
    assert max(Counter(seen).values()) - min(Counter(seen).values()) == 1


def test_processes_and_pieces_have_their_share_of_the_extra_images(tmp_path: Path) -> None:
    mixed = loader(tmp_path)
    alone = [batch.ids for batch in mixed.pieces(1, 2, ALONE, 4)]
    two = [list(mixed.pieces(1, 2, Team(rank, 2), 2)) for rank in range(2)]
    steps = zip(*(zip(one[::2], one[1::2], strict=True) for one in two), strict=True)
    assert [piece.ids for step in steps for rank in step for piece in rank] == alone
    assert {sum(map(is_extra, ids)) for ids in alone} == {1, 2}


def test_images_and_labels_are_the_files(tmp_path: Path) -> None:
    mixed = loader(tmp_path)
    with np.load(tmp_path / "more.npz") as file:
        x, y = file["x"], file["y"]
    own = part("train", 70)
    for batch in mixed.batches(0):
        for n, image in enumerate(batch.ids):
            if is_extra(image):
                number = int(str(image).removeprefix("extra:"))
                wanted = torch.from_numpy(x[number]).permute(2, 0, 1) / 255
                assert int(batch.label[n]) == y[number]
            else:
                position = own.ids.index(image)
                wanted = own.fetch([position]).x[0]
                assert batch.label[n] == own.labels[position]
            torch.testing.assert_close(batch.x[n], wanted)
    again = mixed.data.fetch([70, 3, 71], Augment(0, 1))
    for n, position in enumerate((70, 3, 71)):
        assert torch.equal(again.x[n], mixed.data.fetch([position], Augment(0, 1)).x[0])


def with_extra(results: Path, file: Path, **changes: Any) -> NetworkLearner:
    given = training(results, extra_data=f"npz:{file}", epochs=1, **changes)
    return learner_for(Training(**{**vars(given), "extra": open_data(f"npz:{file}")}))


def test_a_stopped_training_ends_bit_identical_and_records_its_extra_images(tmp_path: Path) -> None:
    file = extra_file(tmp_path / "data")
    wanted = train(with_extra(tmp_path / "calm", file), fresh=False, say=silent)
    with stopped(3):
        train(with_extra(tmp_path / "stopped", file), fresh=False, say=silent, save_every=0.0)
    path = train(with_extra(tmp_path / "stopped", file), fresh=False, say=silent)
    assert equal(path, wanted)
    card = load_card(path)[1]
    assert card.train is not None
    assert (card.train.extra_data, card.train.extra_share) == (f"npz:{file}", 0.3)
    known = open_data(f"npz:{file}").fingerprint
    plain = training(tmp_path).identity["data"]
    assert isinstance(plain, list)
    assert card.data["identity"]["data"] == [*plain, known]
    extra_file(tmp_path / "data", seed=1)  # the same name, other images
    with pytest.raises(BadValue, match="belongs to another training: data is"):
        train(with_extra(tmp_path / "stopped", file), fresh=False, say=silent)


def test_what_cannot_be_mixed_in_is_refused(tmp_path: Path) -> None:
    own = part("train", 70)
    with pytest.raises(BadValue, match="images of 32 pixels, fashion-mini of 28"):
        joined(own, open_data(f"npz:{extra_file(tmp_path, px=32)}"))
    many = extra_file(tmp_path, highest=9)
    with pytest.raises(
        BadValue, match=r"has the label 9, but fashion-mini has 4 classes, 0 \.\. 3"
    ):
        joined(replace(own, classes=4), open_data(f"npz:{many}"))
    with pytest.raises(BadValue, match="leaves no training images in a batch of 16"):
        loader(tmp_path, share=1.0)
    with pytest.raises(BadValue, match="--extra-share has nothing to act on"):
        resolve(MODEL, "fashion-mini", {"extra_share": 0.5})


@pytest.mark.parametrize("ref", ["npz:{folder}", "fashion-mini", "npz:{folder}/none.npz"])
def test_the_command_takes_one_file(tmp_path: Path, ref: str) -> None:
    extra_file(tmp_path)
    words = ["--arch", "r20", "--extra-data", ref.format(folder=tmp_path), "--results", "unused"]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2
    assert "give npz:FILE, one file with x" in result.output
    assert not Path("unused").exists()
