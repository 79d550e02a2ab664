"""The batch size follows the memory: estimated use against a count by hand."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fdbench.machine import (
    batch_size,
    bytes_per_image,
    free_bytes,
    has_bf16,
    is_out_of_memory,
    memory,
    reproducible,
)
from fdbench.models.fast import accelerate

CPU = torch.device("cpu")
PX = 32
PLANE = 4 * PX * PX  # bytes of one float32 channel


def convs(depth: int, width: int) -> nn.Module:
    """`depth` convolutions with a relu each, then one mean and one linear layer."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(3 if i == 0 else width, width, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))
    return net.eval().requires_grad_(False)


def example(images: int = 2) -> torch.Tensor:
    return torch.rand(images, 3, PX, PX)


@pytest.mark.parametrize(("depth", "width"), [(1, 8), (3, 8), (6, 16), (10, 4)])
def test_the_estimate_is_within_a_factor_of_two_of_the_count(depth: int, width: int) -> None:
    # With frozen weights each relu keeps its output, `width` planes; nothing else is of that size.
    # Two more are the gradients on both sides of a layer.
    counted = (depth + 2) * width * PLANE
    assert counted / 2 <= bytes_per_image(convs(depth, width), example()) <= 2 * counted


def test_the_estimate_per_image_does_not_depend_on_the_batch() -> None:
    net = convs(3, 8)
    assert bytes_per_image(net, example(2)) == bytes_per_image(net, example(9))
    assert bytes_per_image(net, example(1)) == pytest.approx(bytes_per_image(net, example()), 0.01)


def test_a_shared_tensor_counts_once_and_weights_never() -> None:
    class Squares(nn.Module):
        def __init__(self, times: int) -> None:
            super().__init__()
            self.times, self.huge = times, nn.Parameter(torch.ones(10**6), requires_grad=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = sum(x * x for _ in range(self.times)) * self.huge[0]
            return torch.as_tensor(total).flatten(1)[:, :4]

    assert bytes_per_image(Squares(5), example()) == bytes_per_image(Squares(1), example())
    assert bytes_per_image(Squares(1), example()) < 4 * 10**6


def test_measuring_changes_nothing() -> None:
    net, x = convs(2, 4), example()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    bytes_per_image(net, x)
    assert not x.requires_grad
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


def test_a_bfloat16_copy_needs_less() -> None:
    net = convs(6, 16)
    fast, _ = accelerate(net, example(), "bf16")
    assert bytes_per_image(fast, example()) < 0.75 * bytes_per_image(net, example())


def test_a_network_that_cuts_the_gradient_still_has_a_size() -> None:
    class Cut(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach().flatten(1)[:, :5]

    assert bytes_per_image(Cut(), example()) >= 3 * PLANE


def test_the_batch_is_as_large_as_half_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    net = convs(3, 8)
    each = bytes_per_image(net, example())
    ladder = {0: 1, each: 1, 4 * each: 2, 2 * 64 * each: 64, 10**5 * each: 250}
    for free, wanted in ladder.items():
        monkeypatch.setattr(memory, "free_bytes", lambda device, free=free: free)
        assert batch_size(net, example(), CPU) == wanted
    assert batch_size(net, example(), CPU, most=10) == 10


def test_free_memory_is_positive_and_no_more_than_the_machine_has() -> None:
    assert 0 < free_bytes(CPU) <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture
def eight_gigabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up machine with 8 GB available and no container."""
    (tmp_path / "meminfo").write_text("MemTotal:  16000000 kB\nMemAvailable:   8000000 kB\nOdd\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    monkeypatch.setattr(os, "sysconf", lambda name: 2**20)
    return tmp_path


def test_available_memory_is_read_in_kilobytes(eight_gigabytes: Path) -> None:
    assert free_bytes(CPU) == 8_000_000 * 1024


def test_without_a_table_all_physical_memory_counts(eight_gigabytes: Path) -> None:
    (eight_gigabytes / "meminfo").unlink()
    assert free_bytes(CPU) == 2**40


def test_a_containers_limit_counts_where_it_is_lower(eight_gigabytes: Path) -> None:
    (eight_gigabytes / "memory.max").write_text("3000000000\n")
    (eight_gigabytes / "memory.current").write_text("1500000000\n")
    (eight_gigabytes / "memory.stat").write_text("anon 5\ninactive_file 500000000\n")
    assert free_bytes(CPU) == 2_000_000_000
    (eight_gigabytes / "memory.max").write_text("max\n")
    assert free_bytes(CPU) == 8_000_000 * 1024


OVERFLOWS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory"),
    RuntimeError("can't allocate memory: you tried to allocate 4000000000 bytes."),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ValueError("can't allocate memory"),
    OSError("No space left on device"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", OVERFLOWS, ids=repr)
def test_out_of_memory_errors_are_recognised(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_are_not_taken_for_out_of_memory(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_the_cpu_allocators_error_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


_FAULTS = """
import resource, sys, torch
from fdbench.machine import keep_freed
if sys.argv[1] == "kept":
    keep_freed()
net = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.ReLU())
x = torch.rand(64, 3, 64, 64, requires_grad=True)  # 33 MB a layer; glibc keeps blocks below 32
taken = []
for turn in range(9):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.autograd.grad(net(x).sum(), x)
    taken.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
# The first turns take from the kernel in any case; a later one may where the heap has holes.
print(sorted(taken[4:])[2])
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_freed_memory_is_reused_without_page_faults() -> None:
    def faults(how: str) -> int:
        command = [sys.executable, "-c", _FAULTS, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults("kept") < 100 < faults("given back")


_HOLES = """
from pathlib import Path
import torch
from fdbench.machine import keep_freed, tidy
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
keep_freed()
torch.ones(50_000_000)
full = resident()
tidy()
print(full - resident())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_free_memory_can_be_returned_to_the_kernel() -> None:
    command = [sys.executable, "-c", _HOLES]
    pages = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert pages * os.sysconf("SC_PAGE_SIZE") > 150e6


@pytest.mark.parametrize(
    ("capabilities", "has"),
    [
        (
            {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False, "amx_bf16": False},
            False,
        ),
        ({"architecture": "x86_64", "avx512_bf16": True}, True),
        ({"architecture": "x86_64", "amx_bf16": True}, True),
        ({"architecture": "arm64", "neon": True, "bf16": True}, True),
        ({"architecture": "s390x"}, False),
    ],
)
def test_a_processor_has_bf16_arithmetic_if_its_instructions_do(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, object], has: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bf16(CPU) is has


def test_a_gpu_that_only_emulates_bf16_does_not_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert not has_bf16(torch.device("cuda"))
    assert asked == [False]


def test_a_gpus_training_uses_reproducible_kernels_and_nothing_else_does() -> None:
    enabled = torch.are_deterministic_algorithms_enabled
    assert not enabled()
    with reproducible(torch.device("cuda")):
        assert enabled()
    with reproducible(CPU):
        assert not enabled()
    assert not enabled()
