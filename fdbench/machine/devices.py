"""The device and the threads to compute on, and this process's share of the work."""

import os

import torch

from fdbench.errors import BadValue
from fdbench.machine.memory import keep_freed


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of processes, from torchrun; (0, 1) without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def start_torch(device: str, threads: int | None) -> torch.device:
    """The torch.device to compute on, with the thread count set.

    TF32 stays off: attacks and verdicts are in float32. Raises BadValue for a missing GPU.
    """
    keep_freed()
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise BadValue("--device cuda: PyTorch sees no GPU here. Use --device cpu or auto.")
    if not gpu or device == "cpu":
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))  # torchrun: one GPU each
