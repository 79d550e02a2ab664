from pathlib import Path

import pytest
import torch

from fdbench.store.scratch import BatchScratch


def test_the_saved_tensors_of_a_batch_come_back(tmp_path: Path) -> None:
    scratch = BatchScratch(tmp_path / "scratch-0", [3, "four"])
    assert scratch.load() is None
    scratch.save({"adv": torch.full((2, 3), 0.25), "stage": torch.tensor([2])})
    again = BatchScratch(tmp_path / "scratch-0", [3, "four"]).load()
    assert again is not None
    assert again["adv"].tolist() == [[0.25] * 3] * 2
    assert again["stage"].item() == 2


def test_another_batchs_scratch_is_ignored(tmp_path: Path) -> None:
    BatchScratch(tmp_path / "scratch-0", [3, 4]).save({"adv": torch.zeros(1)})
    assert BatchScratch(tmp_path / "scratch-0", [4, 3]).load() is None


def test_another_versions_scratch_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    BatchScratch(tmp_path / "scratch-0", [3, 4]).save({"adv": torch.zeros(1)})
    monkeypatch.setattr("fdbench.store.scratch.version", lambda package: "0.0.1")
    assert BatchScratch(tmp_path / "scratch-0", [3, 4]).load() is None


def test_a_cleared_scratch_is_gone(tmp_path: Path) -> None:
    scratch = BatchScratch(tmp_path / "scratch-0", [1])
    scratch.save({"adv": torch.zeros(1)})
    scratch.clear()
    assert list(tmp_path.iterdir()) == []
    scratch.clear()


@pytest.mark.parametrize("place", [0.0, 0.2, 0.4, 0.6, 0.8, 0.99])
def test_a_damaged_scratch_is_named_and_removed(
    tmp_path: Path, place: float, capsys: pytest.CaptureFixture[str]
) -> None:
    scratch = BatchScratch(tmp_path / "scratch-0", [1])
    scratch.save({"adv": torch.rand(40)})
    content = bytearray(scratch.path.read_bytes())
    content[int(place * len(content))] ^= 1
    scratch.path.write_bytes(content)
    assert scratch.load() is None
    assert "starts over" in capsys.readouterr().err.replace("\n", " ")
    assert not scratch.path.exists()
