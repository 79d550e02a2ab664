"""`fashion-mini`: 6000 + 1000 images of Fashion-MNIST, shipped in the package.

Fashion-MNIST is MIT-licensed, see LICENSE-fashion-mnist. The file is made by make_fashion_mini.py.
"""

import lzma
from importlib import resources

import numpy as np
import numpy.typing as npt

FILE = "fashion-mini.xz"
COUNTS = {"train": 6000, "test": 1000}
_PX = 28


def pack(parts: dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]) -> bytes:
    """The file's bytes: for each part in COUNTS, all images, then all labels, compressed by xz."""
    raw = b"".join(array.tobytes() for part in COUNTS for array in parts[part])
    return lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)


def unpack(content: bytes, part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images (N, 28, 28) and labels (N,) of "train" or "test", from the bytes `pack` made."""
    raw = np.frombuffer(lzma.decompress(content), np.uint8)
    cuts = np.cumsum([size for n in COUNTS.values() for size in (n * _PX * _PX, n)])
    pieces = np.split(raw, cuts[:-1])
    at = 2 * list(COUNTS).index(part)
    return pieces[at].reshape(-1, _PX, _PX), pieces[at + 1]


def fashion_mini(part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The embedded images and labels of "train" or "test"."""
    return unpack(resources.files(__package__).joinpath(FILE).read_bytes(), part)
