"""Safetensors files with metadata: weights, training states, images."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fdbench.errors import FdbenchError
from fdbench.files import contents, parse_json, write_atomically


def pack(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The bytes of a safetensors file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return _in_order(save(plain, metadata))


def _in_order(content: bytes) -> bytes:
    """The same file with its metadata sorted: safetensors writes them in an order that varies."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data stay aligned
    return len(text).to_bytes(8, "little") + text + content[end:]


def unpack(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata in a safetensors file's bytes. Raises ValueError if malformed."""
    try:
        tensors = load(content)
    except SafetensorError as reason:
        raise ValueError(str(reason)) from reason
    # safetensors reads no metadata from bytes. It read the tensors, so the header is valid.
    length = int.from_bytes(content[:8], "little")
    return tensors, parse_json(content[8 : 8 + length]).get("__metadata__", {})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Replaces the file, completely or not at all. Raises FdbenchError if it can't be written."""
    write_atomically(path, pack(tensors, metadata))


class Damaged(FdbenchError):
    """A file of intermediate results that is not as it was written."""


_SEAL = "sha256"  # metadata: the digest of everything else in the file


def _seal(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    total = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def write_sealed(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes as `write_tensors` does, with a digest of tensors and metadata."""
    write_tensors(path, tensors, {**metadata, _SEAL: _seal(tensors, metadata)})


def read_sealed(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads what `write_sealed` wrote.

    Raises Damaged if a single bit differs, and for a file without a digest.
    """
    try:
        tensors, metadata = read_tensors(path)
    except FdbenchError as reason:
        raise Damaged(reason.message) from reason
    seal = metadata.pop(_SEAL, None)
    if seal != _seal(tensors, metadata):
        raise Damaged(f"{path} is damaged: its content does not fit its digest.")
    return tensors, metadata


def read_finished(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads what `write_sealed` wrote, or what an earlier version wrote without a digest.

    Raises FdbenchError if it is malformed, or does not fit the digest it has.
    """
    tensors, metadata = read_tensors(path)
    seal = metadata.pop(_SEAL, None)
    if seal is not None and seal != _seal(tensors, metadata):
        raise FdbenchError(
            f"{path} is not what was written: its content does not fit its digest.\n"
            "Copy it again from where it came from, or train again."
        )
    return tensors, metadata


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata of a file. Raises FdbenchError if it is missing or malformed.

    It is opened once, so a file that another process is replacing is read consistently.
    """
    try:
        return unpack(contents(path))
    except FileNotFoundError as reason:
        raise FdbenchError(f"no file {path}.") from reason
    except (ValueError, OSError) as reason:
        raise FdbenchError(
            f"{path} is truncated or not a safetensors file ({reason}).\n"
            "Copy it again from where it came from, or train again; keep this one until that "
            "worked."
        ) from reason
