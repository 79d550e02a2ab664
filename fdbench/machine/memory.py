"""How much memory is free, how much an image needs, and what the C library keeps."""

import ctypes
import os
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fdbench.types import Images

# Half of the free memory: the other half is for convolutions' workspaces, fragmentation, the
# attack's own images (a few per batch against hundreds of activations) and other processes.
SHARE = 0.5

_EXAMPLES = 2  # images measured: batch norm and broadcasting treat a single one differently

_STATUS = Path("/proc/self/status")
_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")

# mallopt(3): parameters of glibc's malloc.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed() -> None:
    """Makes glibc keep freed memory, for the whole process; does nothing with another libc.

    By default glibc returns large blocks to the kernel, which then clears each page anew: 11 000
    page faults and a fifth of the time of each PGD iteration on an r20 (32 px, batch 128, two
    cores, torch 2.15). A network's passes allocate and free the same blocks over and over.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def tidy() -> None:
    """Returns free heap memory to the kernel; once per batch, it costs nothing.

    Blocks of varying sizes, as judging needs, fragment the heap: without this, peak memory of an
    attack on 10 000 images (r20, batch 250) is a quarter higher than on 500.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class _Kept:
    """Bytes that autograd keeps for the backward pass: each storage once, without the weights."""

    def __init__(self, net: nn.Module) -> None:
        state = [*net.parameters(), *net.buffers()]
        self._weights = {tensor.untyped_storage().data_ptr() for tensor in state}
        self.sizes: dict[int, int] = {}

    def save(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._weights:
            # Kept storages stay alive until the backward pass: no address is used twice.
            self.sizes[storage.data_ptr()] = storage.nbytes()
        return tensor


def _watch_outputs(net: nn.Module, note: Callable[[int], None]) -> list[Any]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            note(output.untyped_storage().nbytes())

    # TorchScript takes no hooks: of such a network, only the output and what autograd keeps count.
    seen = (one for one in net.modules() if not isinstance(one, torch.jit.ScriptModule))
    return [module.register_forward_hook(hook) for module in seen]


def bytes_per_image(net: nn.Module, example: Images) -> int:
    """Memory per image of one forward and input-gradient pass, without the weights.

    Counts what autograd keeps, and twice the largest activation: the gradients with respect to a
    layer's output and its input exist at once.
    """
    x = example[:_EXAMPLES].detach().clone().requires_grad_()  # a slice keeps the whole storage
    kept, outputs = _Kept(net), [x.untyped_storage().nbytes()]
    handles = _watch_outputs(net, outputs.append)
    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(kept.save, lambda t: t):
            logits = net(x)
        if logits.requires_grad:  # False if the network blocks gradients
            torch.autograd.grad(logits.sum(), x, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    return (sum(kept.sizes.values()) + 2 * max(outputs)) // len(x)


def _words(path: Path) -> dict[str, int]:
    """The first number of each line, by the word before it; empty if there is no such file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = [line.replace(":", " ").split() for line in lines]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdecimal()}


def _in_container(group: Path) -> float:
    """Bytes left up to the container's memory limit (cgroup v2); inf if it has none.

    The kernel counts cached files as used, but can evict them: inactive_file.
    """
    limit, used = group / "memory.max", group / "memory.current"
    if not (limit.is_file() and used.is_file()) or limit.read_text().strip() == "max":
        return inf
    cached = _words(group / "memory.stat").get("inactive_file", 0)
    return float(int(limit.read_text()) - int(used.read_text()) + cached)


def peak_bytes(device: torch.device) -> int | None:
    """The most that this process has held on the GPU, or in memory; None where no one counts it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Not getrusage's ru_maxrss: a process inherits that from the one that started it.
    kilobytes = _words(_STATUS).get("VmHWM")
    return None if kilobytes is None else kilobytes * 1024


def free_bytes(device: torch.device) -> int:
    """Memory available on the GPU, or on this machine or in its container.

    Memory that PyTorch's GPU allocator holds without using it counts as free.
    """
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kilobytes = _words(_MEMINFO).get("MemAvailable")  # its kB are 1024 bytes: proc(5)
    machine = physical if kilobytes is None else kilobytes * 1024
    return int(min(machine, _in_container(_GROUP)))


def batch_size(net: nn.Module, example: Images, device: torch.device, most: int = 250) -> int:
    """Images that fit into half of the free memory at once: at least 1, at most `most`."""
    fitting = int(SHARE * free_bytes(device)) // bytes_per_image(net, example)
    return max(1, min(most, fitting))
