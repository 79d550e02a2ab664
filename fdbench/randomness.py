"""Random numbers seeded per image, not per batch (contract C3).

Each draw is a pure function of (seed, stream, image id): batch size, order, sharding, resuming and
the number of processes never change it, and no global generator is read or changed. The bits are
Philox's raw output, which NumPy guarantees to be stable across versions.
"""

import hashlib
from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

ImageId = int | str


def _bits(seed: int, stream: str, image: ImageId, count: int) -> npt.NDArray[np.uint64]:
    key = hashlib.sha256(f"{seed}/{stream}/{image}".encode()).digest()[:16]
    return np.random.Philox(key=int.from_bytes(key, "little")).random_raw(count)


def uniform(
    seed: int, stream: str, images: Sequence[ImageId], shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """(len(images), *shape) float32 numbers in [0, 1), one independent stream per image."""
    size = prod(shape)
    out = np.empty((len(images), size), np.float32)
    for row, image in zip(out, images, strict=True):
        halves = _bits(seed, stream, image, (size + 1) // 2).view(np.uint32)[:size]
        row[:] = (halves >> np.uint32(8)) * np.float32(2**-24)  # 24 bits: all a float32 can hold
    return out.reshape(len(images), *shape)


def integer(seed: int, stream: str, image: ImageId, below: int) -> int:
    """An integer in [0, below), drawn from 64 bits: its bias is under below / 2**64."""
    return int(_bits(seed, stream, image, 1)[0]) % below


def permutation(seed: int, stream: str, count: int) -> npt.NDArray[np.int64]:
    """The numbers 0 .. count-1 in an order that depends on (seed, stream) alone."""
    keys = _bits(seed, stream, "permutation", count)
    return np.argsort(keys, kind="stable").astype(np.int64)
