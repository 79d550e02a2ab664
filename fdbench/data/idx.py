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


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array in a .gz file of that format. Raises FdbenchError if it holds anything else."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as reason:
        raise FdbenchError(f"{path} can't be read: {reason}") from reason
    header = np.frombuffer(content[:4], np.uint8)
    dims = int(header[3]) if len(header) == 4 else 0
    start = 4 + 4 * dims
    shape = np.frombuffer(content[4:start], ">u4").tolist() if len(content) >= start else []
    if not dims or header[2] != _UNSIGNED_BYTES or len(content) - start != prod(shape):
        raise FdbenchError(f"{path} is not an idx file of bytes, or is cut short.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_part(folder: Path, part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images (N, H, W) and labels (N,) of "train" or "test"."""
    x = read_idx(images_file(folder, part))
    y = read_idx(folder / f"{PREFIXES[part]}-labels-idx1-ubyte.gz")
    if x.ndim != 3 or y.shape != x.shape[:1]:
        raise FdbenchError(
            f"{folder}: images {x.shape} and labels {y.shape} don't belong together."
        )
    return x, y
