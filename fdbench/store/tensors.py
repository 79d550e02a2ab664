"""Tensors and a few strings in one safetensors file: weights, states of training, images."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fdbench.errors import FdbenchError
from fdbench.store.files import write_atomically


def pack(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The bytes of such a file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(plain, metadata)


def unpack(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and strings of `pack`'s bytes. Raises ValueError for a foreign or truncated file."""
    try:
        tensors = load(content)
    except SafetensorError as reason:
        raise ValueError(str(reason)) from reason
    # The library reads no strings out of bytes; that it read the tensors vouches for the header.
    length = int.from_bytes(content[:8], "little")
    return tensors, json.loads(content[8 : 8 + length]).get("__metadata__", {})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """The file, replaced whole or not at all. Raises FdbenchError where the disk refuses."""
    write_atomically(path, pack(tensors, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Raises FdbenchError for a missing, truncated or foreign file.

    The file is opened once: one that another process replaces meanwhile is read as it was.
    """
    try:
        return unpack(path.read_bytes())
    except FileNotFoundError as reason:
        raise FdbenchError(f"no file {path}.") from reason
    except (ValueError, OSError) as reason:
        raise FdbenchError(
            f"{path} is truncated or not a safetensors file ({reason}).\n"
            "Delete it and train again, or fetch it again."
        ) from reason
