"""`npz:PATH`: the user's own arrays, x uint8 (N, H, H, 3) or (N, H, H, 1) or (N, H, H), y (N,).

PATH is a file (no training set), or a folder with train.npz and test.npz. The number of classes is
the highest training label plus 1, or the length of the optional array `class_names` (in both
files). Nothing is unpickled.
"""

import struct
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fdbench.data.dataset import Dataset, Request
from fdbench.data.memory import in_memory
from fdbench.errors import FdbenchError

_FORMAT = "Expected: x uint8 (N, H, W, 3) or (N, H, W), square, 0 .. 255; y int64 (N,)."
_REQUIRED = ("x", "y")
_BEFORE_NORMALISATION = (
    "Normalised already? Store the images as they were before, and put the normalisation into the "
    "network: fdbench.Preprocessed(net, mean=..., std=...)."
)
_FROM_UNIT = "(x * 255).round().astype('uint8')"
# Above any normalised image, (1 - mean) / std, where std is rarely below 0.1; images of 0 .. 255
# reach more.
_NORMALISED = 16
_MOST_BYTES = 1 << 35  # of one array, 32 GiB: 200 000 images of 224 x 224 pixels
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# What NumPy and zipfile raise for members that are damaged, encrypted or packed in another way.
UNREADABLE_NPZ = (
    OSError, EOFError, ValueError, TypeError, SyntaxError, OverflowError, RuntimeError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip


def _part_file(request: Request) -> tuple[Path, Path | None]:
    """The requested part's file, and the other part's if it exists."""
    path = request.path or Path()
    if not path.exists():
        raise FdbenchError(f"{request.name}: {path} does not exist.")
    files = {part: path / f"{part}.npz" for part in ("train", "test")}
    if path.is_file():
        files = {"test": path}
    existing = {part: file for part, file in files.items() if file.is_file()}
    if request.part not in existing:
        raise FdbenchError(
            f"{request.name} has no {'training' if request.part == 'train' else 'test'} set.\n"
            "A single file is a test set; a folder has a train.npz, a test.npz or both."
        )
    wanted = existing.pop(request.part)
    return wanted, next(iter(existing.values()), None)


def check_sizes(path: Path, keys: tuple[str, ...]) -> None:
    """Raises ValueError for an array that is larger than it may be, or not what its header says.

    Looks at the zip's directory and the arrays' headers: nothing large is unpacked.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.removesuffix(".npy") not in keys:
                continue
            if not member.filename.endswith(".npy") or member.file_size > _MOST_BYTES:
                raise ValueError(
                    f"{member.filename} is no .npy array of at most {_MOST_BYTES:,} bytes"
                )
            with archive.open(member) as file:
                reader = _HEADERS.get(np.lib.format.read_magic(file))
                if reader is None:
                    raise ValueError(f"{member.filename} has an unknown version")
                shape, _, kind = reader(file)
                if file.tell() + prod(shape) * kind.itemsize != member.file_size:
                    raise ValueError(f"{member.filename} is {member.file_size} bytes, not {shape}")


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """The arrays in `keys` that the file has; x and y are required."""
    if not zipfile.is_zipfile(path):
        raise FdbenchError(f"{path} is not a .npz file, or is cut short.\n{_FORMAT}")
    try:
        check_sizes(path, keys)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            missing = [key for key in _REQUIRED if key not in content.files]
            arrays = {key: content[key] for key in keys if key in content.files}
    except UNREADABLE_NPZ as reason:
        raise FdbenchError(f"{path} has an array that can't be read: {reason}") from reason
    if missing:
        raise FdbenchError(f"{path} lacks {' and '.join(missing)}.\n{_FORMAT}")
    return arrays


def _refuse_type(path: Path, x: npt.NDArray[Any]) -> FdbenchError:
    """The error for values that are not uint8, with what to do to values of this range."""
    wrong = f"{path}: x is {x.dtype}, not uint8"
    if x.dtype.kind not in "iuf" or x.size == 0:
        return FdbenchError(f"{wrong}.\n{_FORMAT}")
    low, high = float(x.min()), float(x.max())
    cases = (
        (low >= 0 and high <= 1, f"Store {_FROM_UNIT}."),
        (low < 0 or 1 < high < _NORMALISED, _BEFORE_NORMALISATION),
        (_NORMALISED <= high <= 255, "Store x.round().astype('uint8')."),
    )
    advice = next((f" {text}" for holds, text in cases if holds), "")
    return FdbenchError(f"{wrong}, and goes from {low:.3g} to {high:.3g}.{advice}\n{_FORMAT}")


def _check_images(path: Path, x: npt.NDArray[Any]) -> None:
    if x.dtype != np.uint8:
        raise _refuse_type(path, x)
    if 0 in x.shape[1:]:
        raise FdbenchError(f"{path}: x is {x.shape}, without a pixel.\n{_FORMAT}")
    if x.max(initial=0) == 1:
        raise FdbenchError(
            f"{path}: x has only 0 and 1, of 0 .. 255: cut off from images in [0, 1]?\n"
            f"Store {_FROM_UNIT} of those."
        )
    if x.ndim == 4 and x.shape[1] in (1, 3) and x.shape[2] == x.shape[3]:
        raise FdbenchError(f"{path}: x is {x.shape}, channels first: x.transpose(0, 2, 3, 1).")
    if x.ndim not in (3, 4) or x.shape[1] != x.shape[2] or x.shape[3:] not in ((), (1,), (3,)):
        raise FdbenchError(f"{path}: x is {x.shape}.\n{_FORMAT}")


def _check_labels(path: Path, y: npt.NDArray[Any]) -> None:
    if not np.issubdtype(y.dtype, np.integer) or y.ndim != 1 or len(y) == 0:
        raise FdbenchError(f"{path}: y is {y.dtype} {y.shape}.\n{_FORMAT}")
    if y.min() < 0:
        count = int((y < 0).sum())
        raise FdbenchError(
            f"{path}: y has the label {y.min()} ({count} of them); labels start at 0.\n"
            "If it marks images without a label, leave them out: keep = y >= 0, and store x[keep], "
            "y[keep]."
        )


def _classes(y: npt.NDArray[Any], other: Path | None, path: Path) -> int:
    """The highest training label plus 1; without a training set, the highest label plus 1."""
    if other is None or path.name == "train.npz":
        return int(y.max()) + 1
    trained = _read(other, ("y",))["y"]
    _check_labels(other, trained)
    return int(trained.max()) + 1


def open_npz(request: Request) -> Dataset:
    """The requested split. Raises FdbenchError for arrays of a wrong type, shape or range."""
    path, other = _part_file(request)
    arrays = _read(path, (*_REQUIRED, "class_names"))
    x, y = arrays["x"], arrays["y"]
    _check_images(path, x)
    _check_labels(path, y)
    if len(x) != len(y):
        raise FdbenchError(f"{path}: {len(x)} images in x, but {len(y)} labels in y.")
    names = tuple(str(name) for name in np.atleast_1d(arrays.get("class_names", ())))
    classes = len(names) or _classes(y, other, path)
    if y.max() >= classes:
        raise FdbenchError(
            f"{path}: y has the label {y.max()}, but there are {classes} classes, "
            f"0 .. {classes - 1} ({'class_names' if names else 'labels of train.npz'})."
        )
    return in_memory(request, x, y, classes, names)
