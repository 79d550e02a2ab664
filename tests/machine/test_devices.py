"""Which device is taken, and what it leaves as it was."""

import pytest
import torch

from fdbench.errors import BadValue
from fdbench.machine import generators_kept, start_torch


@pytest.mark.parametrize("name", ["gpu", "cuda:1", "CUDA", ""])
def test_a_device_of_another_name_is_refused_and_not_the_cpu(name: str) -> None:
    with pytest.raises(BadValue, match=r"no device .*\n?.*Allowed: auto, cpu, cuda, mps"):
        start_torch(name, None)


@pytest.mark.parametrize(("name", "kind"), [("cuda", "GPU"), ("mps", "Apple GPU")])
def test_a_gpu_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    with pytest.raises(BadValue, match=f"--device {name}: PyTorch sees no {kind} here"):
        start_torch(name, None)
    assert start_torch("auto", None).type == "cpu"


def test_an_accelerator_that_fdbench_does_not_know_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    xpu = torch.device("xpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: xpu)
    assert start_torch("auto", None).type == "cpu"


@pytest.mark.parametrize(
    ("name", "rank", "index"), [("cuda", None, 0), ("cuda", "3", 3), ("mps", "3", 0)]
)
def test_each_process_takes_a_cuda_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, name: str, rank: str | None, index: int
) -> None:
    there = torch.device(name)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: there)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert start_torch("auto", None) == torch.device(name, index)


def test_the_generators_are_seeded_and_restored() -> None:
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    with generators_kept(torch.device("cpu"), seed=2):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), wanted)
    torch.manual_seed(2)
    assert torch.equal(torch.rand(3), inside)


def test_an_apple_gpus_generator_is_restored_after_an_error_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = {"now": torch.tensor([1])}
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state["now"])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda new: state.update(now=new))
    monkeypatch.setattr(
        torch.mps, "manual_seed", lambda seed: state.update(now=torch.tensor([seed]))
    )

    def fail() -> None:
        with generators_kept(torch.device("mps"), seed=7):
            raise ValueError(f"the state is {state['now'].item()}")

    with pytest.raises(ValueError, match="the state is 7"):
        fail()
    assert state["now"].item() == 1
