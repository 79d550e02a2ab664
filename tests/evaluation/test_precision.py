from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Small, frozen
from scripted import pgd_spec
from torch import nn

from fdbench.attacks import PGD
from fdbench.evaluation import precision
from fdbench.specs import AttackSpec
from fdbench.types import Batch


class _Blunt(nn.Module):
    """Has no gradient in low precision: the worst that bfloat16 can do to a network."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        blunt = x.dtype == torch.bfloat16
        logits: torch.Tensor = self.inner(x.detach() if blunt else x)
        return logits + 0 * x.flatten(1).sum(1, keepdim=True)


def parts(net: nn.Module, count: int) -> Iterator[Batch]:
    """Images that the network gets right, 100 at a time."""
    rng = torch.Generator().manual_seed(0)
    for start in range(0, count, precision.PART):
        x = torch.rand((min(precision.PART, count - start), 3, 8, 8), generator=rng)
        with torch.no_grad():
            yield Batch(x, net(x).argmax(1), tuple(range(start, start + len(x))))


@pytest.fixture
def fast_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which each trial of bf16 takes a tenth of fp32's time."""
    clock = cycle([0.0, 10.0, 10.0, 11.0])
    monkeypatch.setattr("fdbench.evaluation.precision.time.perf_counter", lambda: next(clock))


LONG = pgd_spec(eps=0.05, iters=(500,))  # a run of which the trial is a small part


def compare(net: nn.Module, count: int, spec: AttackSpec = LONG) -> dict[str, Any]:
    judged = frozen(net)
    return precision.compare(judged, parts(judged, count), count, PGD(), spec, seed=0)


@pytest.mark.usefixtures("fast_bf16")
def test_bf16_is_taken_where_600_images_show_that_it_is_no_weaker() -> None:
    trial = compare(Small(), 2400)
    assert trial["chosen"] == "bf16", trial
    assert trial["images"] in precision.LOOKS
    assert trial["iters"] == 20, "a fraction of the run"
    assert "points weaker" in trial["why"]


@pytest.mark.usefixtures("fast_bf16")
def test_a_run_too_short_to_show_it_stays_in_fp32() -> None:
    assert compare(Small(), 500)["chosen"] == "fp32"
    short = compare(Small(), 2400, pgd_spec(eps=0.05, iters=(10,)))
    assert (short["chosen"], short["images"]) == ("fp32", 0), "the trial would cost half of the run"


@pytest.mark.usefixtures("fast_bf16")
def test_a_weaker_bf16_is_not_taken_however_fast() -> None:
    trial = compare(_Blunt(), 1000, pgd_spec(eps=0.5, iters=(500,)))
    assert trial["chosen"] == "fp32"
    assert trial["robust"]["bf16"] > trial["robust"]["fp32"]


def test_a_bf16_that_is_not_faster_ends_the_trial_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = cycle([0.0, 1.0, 1.0, 3.0])
    monkeypatch.setattr("fdbench.evaluation.precision.time.perf_counter", lambda: next(clock))
    trial = compare(Small(), 2400)
    assert (trial["chosen"], trial["images"], trial["why"]) == ("fp32", 100, "bf16 is not faster")


class _Float32Only(nn.Module):
    """Adds a constant that is float32 whatever the network was cast to, as fixed code does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        logits: torch.Tensor = self.inner(x)
        return logits


@pytest.mark.usefixtures("fast_bf16")
def test_a_network_that_fails_in_bf16_is_attacked_in_fp32_and_the_reason_is_kept() -> None:
    trial = compare(_Float32Only(), 2400)
    assert trial["chosen"] == "fp32"
    assert "float32 only" in trial["why"]


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
