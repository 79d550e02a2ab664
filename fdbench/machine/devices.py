"""The device and the threads to compute on, and this process's share of the work."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fdbench.errors import BadValue
from fdbench.machine.memory import keep_freed
from fdbench.machine.neighbours import give_way


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes, from torchrun; (0, 1) without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def start_torch(device: str, threads: int | None) -> torch.device:
    """The torch.device to compute on, with the thread count set.

    TF32 stays off: attacks and verdicts are in float32. Raises BadValue for a missing GPU.
    """
    keep_freed()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for `reproducible`
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise BadValue("--device cuda: PyTorch sees no GPU here. Use --device cpu or auto.")
    if not gpu or device == "cpu":
        give_way()
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))  # torchrun: one GPU each


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
