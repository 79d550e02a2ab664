"""One rule for networks that draw random numbers: one draw decides, others stand beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import frozen
from test_observation import NearestMean
from torch import Tensor, nn

from fdbench.attacks import ATTACKS, DRAWS
from fdbench.data import open_data
from fdbench.evaluation import evaluate
from fdbench.evaluation.evaluation import Evaluation
from fdbench.models import Model, weights_hash
from fdbench.reporting.whitebox import whitebox
from fdbench.specs import AttackSpec, AutoAttackParameters
from fdbench.store import Workspace, read_run

CPU, DATA, EPS, COUNT = torch.device("cpu"), open_data("fashion-mini"), 0.04, 50


class Noisy(nn.Module):
    """Noise on the input, as randomised smoothing has it."""

    def __init__(self, inner: nn.Module, sigma: float = 0.3) -> None:
        super().__init__()
        self.inner, self.sigma = inner, sigma

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x + self.sigma * torch.randn_like(x))
        return logits


def net() -> nn.Module:
    return frozen(Noisy(NearestMean()))


def rand(results: Path, make: Callable[[], nn.Module] = net) -> Path:
    made = make()
    model = Model("net", "mine:net", made, weights_hash(made.state_dict()), None)
    spec = AttackSpec("autoattack", "linf", EPS, parameters=AutoAttackParameters(version="rand"))
    job = Evaluation(model, DATA, ATTACKS["autoattack"], spec, Workspace(results), CPU, limit=COUNT)
    return evaluate(job, lambda text: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rand(tmp_path_factory.mktemp("random"))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows-0.jsonl").read_text().splitlines()]


def test_an_image_that_an_attack_broke_is_recorded_as_wrong(run: Path) -> None:
    broken = [row for row in rows(run) if row["broken_by"]]
    assert len({row["broken_by"] for row in broken}) > 1
    for row in rows(run):
        assert (row["pred"]["autoattack"] != row["label"]) == (row["broken_by"] is not None)


def test_robust_accuracy_is_no_higher_than_the_packages(run: Path) -> None:
    from pyautoattack.autoattack import AutoAttack

    batch = DATA.fetch(range(COUNT))
    torch.manual_seed(0)
    attack = AutoAttack(net(), norm="Linf", eps=EPS, version="rand", seed=0)
    adv, _ = attack.run_standard_evaluation(batch.x, batch.label)
    broken = int((adv != batch.x).flatten(1).any(1).sum())
    clean = sum(row["broken_by"] != "clean" for row in rows(run))
    ours = sum(row["pred"]["autoattack"] == row["label"] for row in rows(run))
    assert abs(ours - (clean - broken)) <= 5, "two draws for a few borderline images of 50"


def test_further_draws_stand_beside_the_verdict(run: Path) -> None:
    found = rows(run)
    assert all(0 <= row["draws"]["autoattack"] <= DRAWS for row in found)
    (line,) = whitebox([read_run(run)]).to_dict("records")
    right = [row["draws"]["autoattack"] for row in found]
    assert line["mean_of_draws"] == pytest.approx(100 * sum(right) / DRAWS / COUNT, abs=1e-3)
    assert line["worst_of_draws"] == pytest.approx(100 * right.count(DRAWS) / COUNT, abs=1e-3)
    assert line["worst_of_draws"] <= line["robust"], "the verdict is one of the draws"
    assert line["worst_of_draws"] < line["mean_of_draws"]


def test_a_network_without_random_numbers_has_no_draws(tmp_path: Path) -> None:
    run = rand(tmp_path, lambda: frozen(NearestMean()))
    assert all("draws" not in row for row in rows(run))
    assert whitebox([read_run(run)])["mean_of_draws"].isna().all()
