from .arithmetic import has_bf16
from .devices import (
    UNTRIED,
    accelerators,
    generators_kept,
    rank_and_world,
    release,
    reproducible,
    start_torch,
)
from .hardware import environment
from .memory import SHARE, batch_size, bytes_per_image, free_bytes, keep_freed, peak_bytes, tidy
from .out_of_memory import BatchLimit, is_out_of_memory

__all__ = [
    "SHARE",
    "UNTRIED",
    "BatchLimit",
    "accelerators",
    "batch_size",
    "bytes_per_image",
    "environment",
    "free_bytes",
    "generators_kept",
    "has_bf16",
    "is_out_of_memory",
    "keep_freed",
    "peak_bytes",
    "rank_and_world",
    "release",
    "reproducible",
    "start_torch",
    "tidy",
]
