"""The most memory that a call takes, above what the process holds before it."""

import ctypes
from collections.abc import Callable
from pathlib import Path

import torch


def _status_mb(key: str) -> float:
    # Not getrusage's ru_maxrss: a process inherits that from the one that started it.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def peak_mb(run: Callable[[], None], device: str = "cpu") -> float:
    """MB that `run` takes. On a CPU, measure in a process of its own: free memory would hide it."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (Linux, proc(5))
    held = _status_mb("VmRSS")
    run()
    return _status_mb("VmHWM") - held
