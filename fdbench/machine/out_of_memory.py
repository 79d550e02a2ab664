"""Batches that run out of memory are halved, and the work goes on."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fdbench.machine.devices import release
from fdbench.types import Batch

# Parts of the messages of PyTorch's allocators that have no exception of their own.
_WORDS = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "not enough memory",
    "MPS backend out of memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU, the CPU allocator or Python ran out of memory: a smaller batch may help."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


@dataclass
class BatchLimit:
    """The largest batch size: halved whenever memory runs out, for the whole session.

    `note` is called with the size that did not fit and with the new one.
    """

    device: torch.device
    note: Callable[[int, int], None]
    most: int = sys.maxsize

    def run(self, batch: Batch, work: Callable[[Batch], None]) -> None:
        """Runs `work` on the batch or, if memory runs out, on its halves in order."""
        size = len(batch.ids)
        half = (size + 1) // 2
        if size <= self.most:
            try:
                work(batch)
            except (RuntimeError, MemoryError) as reason:
                if not is_out_of_memory(reason) or size == 1:
                    raise
            else:
                return
            release()
            self.most = half
            self.note(size, half)
        self.run(batch.part(slice(None, half)), work)
        self.run(batch.part(slice(half, None)), work)
