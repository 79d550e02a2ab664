"""The device and the threads to compute on, and this process's share of the work."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fdbench.errors import BadValue, unknown
from fdbench.machine.memory import keep_freed
from fdbench.machine.neighbours import give_way

# What `--device` may name beside the CPU, and what PyTorch calls each. auto takes the one there is.
ACCELERATORS = {"cuda": "GPU", "mps": "Apple GPU"}
UNTRIED = {"mps"}  # held to the CPU's logits before each run: fdbench has never run on one


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes, from torchrun; (0, 1) without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def start_torch(device: str, threads: int | None) -> torch.device:
    """The torch.device to compute on, with the thread count set.

    TF32 stays off: attacks and verdicts are in float32. Raises BadValue for a missing GPU,
    and for any other name.
    """
    keep_freed()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for `reproducible`
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if device not in ("auto", "cpu", *ACCELERATORS):
        raise unknown("device", device, ["auto", "cpu", *ACCELERATORS])
    there = _accelerator()
    if device in ACCELERATORS and device != there:
        kind = ACCELERATORS[device]
        raise BadValue(f"--device {device}: PyTorch sees no {kind} here. Use --device cpu or auto.")
    if there is None or device == "cpu":
        give_way()
        return torch.device("cpu")
    index = int(os.environ.get("LOCAL_RANK", 0)) if there == "cuda" else 0  # torchrun: one each
    return torch.device(there, index)


def _accelerator() -> str | None:
    """The accelerator of this machine that fdbench computes on."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found.type if found is not None and found.type in ACCELERATORS else None


def accelerators() -> list[torch.device]:
    """Every device of this machine but the CPU that fdbench could compute on."""
    there = _accelerator()
    if there is None:
        return []
    return [torch.device(there, index) for index in range(torch.accelerator.device_count())]


def release() -> None:
    """Returns what PyTorch's allocator holds without using it to this machine's GPUs."""
    for device in accelerators()[:1]:  # one call is for all of them
        torch.get_device_module(device).empty_cache()


@contextmanager
def generators_kept(*devices: torch.device, seed: int | None = None) -> Iterator[None]:
    """Restores the global random generators of the CPU and of `devices`, which networks may use.

    Seeds them first if there is a `seed`: these alone, where torch.manual_seed takes all GPUs.
    """
    cuda = [device for device in devices if device.type == "cuda"]
    apple = any(device.type == "mps" for device in devices)
    before = torch.mps.get_rng_state() if apple else None
    try:
        with torch.random.fork_rng(cuda):
            if seed is not None:
                torch.default_generator.manual_seed(seed)
                for gpu in cuda:
                    with torch.cuda.device(gpu):
                        torch.cuda.manual_seed(seed)
                if apple:
                    torch.mps.manual_seed(seed)
            yield
    finally:
        if before is not None:
            torch.mps.set_rng_state(before)


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Uses kernels that give the same bits each time; on a GPU, PyTorch's fastest do not.

    PyTorch warns where an operation has no such kernel.
    """
    if device.type == "cpu":  # always the same with one thread
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
