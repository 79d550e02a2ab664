"""Safetensors files with metadata: weights, training states, images."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fdbench.errors import FdbenchError
from fdbench.files import write_atomically


def pack(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The bytes of a safetensors file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(plain, metadata)


def unpack(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata in a safetensors file's bytes. Raises ValueError if malformed."""
    try:
        tensors = load(content)
    except SafetensorError as reason:
        raise ValueError(str(reason)) from reason
    # safetensors reads no metadata from bytes. It read the tensors, so the header is valid.
    length = int.from_bytes(content[:8], "little")
    return tensors, json.loads(content[8 : 8 + length]).get("__metadata__", {})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Replaces the file, completely or not at all. Raises FdbenchError if it can't be written."""
    write_atomically(path, pack(tensors, metadata))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata of a file. Raises FdbenchError if it is missing or malformed.

    It is opened once, so a file that another process is replacing is read consistently.
    """
    try:
        return unpack(path.read_bytes())
    except FileNotFoundError as reason:
        raise FdbenchError(f"no file {path}.") from reason
    except (ValueError, OSError) as reason:
        raise FdbenchError(
            f"{path} is truncated or not a safetensors file ({reason}).\n"
            "Copy it again from where it came from, or train again; keep this one until that "
            "worked."
        ) from reason
