"""Numbers that others measured, on real images and weights, where the machine has them."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from fdbench.commands import main
from fdbench.data.open import open_data
from fdbench.store.runs import read_runs


class Normalised(nn.Module):
    """The CIFAR-10 network `cnn_a_adv` of alpha-beta-CROWN, trained at linf 2/255."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(2048, 100), nn.ReLU(), nn.Linear(100, 10),
        )  # fmt: skip
        self.net.load_state_dict(torch.load(weights, weights_only=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        return self.net((x - mean) / 0.225)


def test_a_published_network_has_the_accuracy_that_others_measured(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clean 68.2 %, PGD-20 at 2/255 with alpha eps/4 53.4 to 53.5 %, at 8/255 13.5 %."""
    weights = real_data / "weights" / "cnn_a_adv.model"
    monkeypatch.setattr(f"{__name__}.load", lambda: Normalised(weights), raising=False)
    data = real_data / "data" / "cifar10" / "test.npz"
    words = f"attack pgd --model {__name__}:load --data npz:{data} --limit 1000 --iters 20"
    for eps in ("2/255", "8/255"):
        line = f"{words} --eps {eps} --results {tmp_path}".split()
        assert CliRunner().invoke(main, line).exit_code == 0
    robust = {}
    for run in read_runs(tmp_path):
        assert len(run.rows) == 1000
        assert sum(row["clean"] == row["label"] for row in run.rows) == 682
        right = sum(row["pred"]["20"] == row["label"] for row in run.rows)
        robust[round(255 * run.info.attack.eps)] = right / 10
    assert abs(robust[2] - 53.4) <= 0.4
    assert abs(robust[8] - 13.5) <= 0.4


def test_the_report_of_real_runs_can_be_read_by_a_script(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = real_data / "weights" / "cnn_a_adv.model"
    monkeypatch.setattr(f"{__name__}.load", lambda: Normalised(weights), raising=False)
    data = real_data / "data" / "cifar10"
    assert open_data(f"npz:{data}", "test").classes == 10
    words = f"attack pgd --model {__name__}:load --data npz:{data} --limit 50 --iters 1,5"
    assert CliRunner().invoke(main, f"{words} --results {tmp_path}".split()).exit_code == 0
    shown = CliRunner().invoke(main, f"report --format json --results {tmp_path}".split())
    lines = json.loads(shown.stdout)["whitebox"]
    assert [line["iters"] for line in lines] == [1, 5]
    assert all(line["n"] == 50 for line in lines)
