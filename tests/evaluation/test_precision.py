from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Small, frozen
from scripted import pgd_spec
from torch import nn

from fdbench.attacks import PGD
from fdbench.evaluation import precision
from fdbench.types import Batch


def test_both_precisions_are_tried_on_the_same_images(tiny_net: nn.Module, batch: Batch) -> None:
    comparison = precision.compare(tiny_net, batch, PGD(), pgd_spec(iters=(5, 50)), seed=0)
    assert comparison["images"] == 12
    assert comparison["iters"] == 20, "a fraction of the run"
    assert set(comparison["seconds"]) == set(comparison["robust"]) == {"fp32", "bf16"}


class _Blunt(nn.Module):
    """Has no gradient in low precision: the worst that bfloat16 can do to a network."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = x.float() if x.dtype == torch.float32 else x.float().detach() + 0 * x.float()
        return self.inner.float()(seen).to(x.dtype)


@pytest.mark.parametrize("net", ["as it is", "blunt"])
def test_bf16_is_taken_only_if_its_attack_is_no_weaker(
    net: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand((64, 3, 8, 8), generator=rng)
    judged = frozen(Small() if net == "as it is" else _Blunt())
    batch = Batch(x, judged(x).argmax(1), tuple(range(64)))
    clock = iter([0.0, 10.0, 10.0, 11.0])  # fp32 takes 10 s, bf16 then 1 s
    monkeypatch.setattr("fdbench.evaluation.precision.time.perf_counter", lambda: next(clock))
    comparison = precision.compare(judged, batch, PGD(), pgd_spec(eps=0.5, iters=(10,)), seed=0)
    assert comparison["seconds"]["bf16"] < comparison["seconds"]["fp32"]
    assert comparison["chosen"] == ("bf16" if net == "as it is" else "fp32"), comparison


def test_the_first_process_decides_for_all(tmp_path: Path) -> None:
    def never() -> dict[str, Any]:
        raise AssertionError("measured twice")

    assert precision.settle(tmp_path, lambda: {"chosen": "bf16"}) == {"chosen": "bf16"}
    assert precision.settle(tmp_path, never) == {"chosen": "bf16"}
    assert [path.name for path in tmp_path.iterdir()] == ["precision.json"]


def test_a_late_process_takes_the_first_ones_precision(tmp_path: Path) -> None:
    def late() -> dict[str, Any]:
        (tmp_path / "precision.json").write_text('{"chosen": "fp32"}')
        return {"chosen": "bf16"}

    assert precision.settle(tmp_path, late) == {"chosen": "fp32"}


@pytest.mark.parametrize(
    ("chosen", "has", "warned"),
    [("bf16", False, True), ("bf16", True, False), ("fp32", False, False), ("auto", False, False)],
)
def test_emulated_bf16_is_warned_of_where_it_was_chosen(
    monkeypatch: pytest.MonkeyPatch, chosen: str, has: bool, warned: bool
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: has)
    line = precision.emulated(chosen, torch.device("cpu"))
    assert bool(line) == warned
    assert not warned or "--precision fp32, or auto" in line
