"""MNIST's file format, gzipped: a header of big-endian sizes, then the bytes."""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fdbench.errors import FdbenchError

_UNSIGNED_BYTES = 8  # the header's type code; the only one these data sets use
PREFIXES = {"train": "train", "test": "t10k"}  # part: prefix of its file names


def images_file(folder: Path, part: str) -> Path:
    """The file with the images of "train" or "test"."""
    return folder / f"{PREFIXES[part]}-images-idx3-ubyte.gz"


_MOST_BYTES = 1 << 33  # of one array, 8 GiB: the compressed file says nothing of its size


def _unpacked(path: Path) -> tuple[list[int], bytes]:
    """The shape that the header claims, and the bytes after it, read no further than claimed."""
    with gzip.open(path) as file:
        header = file.read(4)
        dims = header[3] if len(header) == 4 and header[2] == _UNSIGNED_BYTES else 0
        if dims not in (1, 3):
            raise ValueError("it is not an idx file of labels or images")
        shape = np.frombuffer(file.read(4 * dims), ">u4").tolist()
        size = prod(shape)
        if len(shape) != dims or size > _MOST_BYTES:
            raise ValueError(f"it claims an array of {shape}; the most is {_MOST_BYTES:,} bytes")
        content = file.read(size + 1)
    if len(content) != size:
        raise ValueError("it is cut short, or longer than its header says")
    return shape, content


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array in a .gz file of that format. Raises FdbenchError if it holds anything else."""
    try:
        shape, content = _unpacked(path)
    except (OSError, EOFError, ValueError, zlib.error) as reason:
        raise FdbenchError(f"{path} can't be read as an idx file: {reason}") from reason
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_part(folder: Path, part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images (N, H, W) and labels (N,) of "train" or "test"."""
    x = read_idx(images_file(folder, part))
    y = read_idx(folder / f"{PREFIXES[part]}-labels-idx1-ubyte.gz")
    if x.ndim != 3 or y.shape != x.shape[:1]:
        raise FdbenchError(
            f"{folder}: images {x.shape} and labels {y.shape} don't belong together."
        )
    if not x.size:
        raise FdbenchError(f"{folder}: its images {x.shape} have no pixels.")
    return x, y
