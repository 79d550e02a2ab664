"""Adversarial images made elsewhere: .pt (RobustBench's), .npy, .npz, or a folder of PNG files.

Nothing is unpickled but tensors, and no array is unpacked before its header was read.
"""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from fdbench.data.folder import open_rgb
from fdbench.data.npz import UNREADABLE_NPZ, check_sizes
from fdbench.errors import FdbenchError
from fdbench.files import below
from fdbench.randomness import ImageId
from fdbench.types import Images

_IMAGES = ("adv_complete", "x_adv", "adv", "images", "x")  # names in files, the first that is there
_LABELS = ("y", "labels", "y_test")
_FORMS = (
    "Images are (N, 3, H, W) or (N, H, W, 3): floats in [0, 1], or whole pixels 0 .. 255 as uint8."
)


@dataclass(frozen=True, eq=False)
class Claimed:
    """Images as they were handed in, in the order of the data set's; `labels` if they brought any.

    Values may lie anywhere: whoever checks them looks.
    """

    images: Images
    labels: Int64[Tensor, " N"] | None


def read_claimed(path: Path, ids: Sequence[ImageId]) -> Claimed:
    """The images in a file, or the PNG files ID.png in a folder for the first of these ids.

    Raises FdbenchError for a file of another kind or another shape, or that is damaged.
    """
    if path.is_dir():
        return _from_folder(path, ids)
    if not path.is_file():
        raise FdbenchError(f"no file {path}.")
    read = _READERS.get(path.suffix)
    if read is None:
        raise FdbenchError(
            f"{path} is not a {', '.join(_READERS)} file or a folder of PNG files.\n{_FORMS}"
        )
    content = read(path)
    images = _chosen(content, _IMAGES)
    if images is None:
        raise FdbenchError(f"{path} has no {' or '.join(_IMAGES)}, only {sorted(content)}.")
    return Claimed(_as_images(path, images), _as_labels(path, _chosen(content, _LABELS)))


def _chosen(content: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((content[name] for name in names if name in content), None)


def _from_folder(path: Path, ids: Sequence[ImageId]) -> Claimed:
    named = [below(path, f"{image}.png") for image in ids]
    files = [file for file in named if file.is_file()]
    if not files or files != named[: len(files)]:
        first = next(file for file in named if not file.is_file())
        raise FdbenchError(
            f"{path} has {len(files)} of the data set's {len(named)} images, but no {first.name}.\n"
            "Give its first images, as ID.png."
        )
    arrays = [np.asarray(open_rgb(str(file))) for file in files]
    if len({array.shape for array in arrays}) > 1:
        raise FdbenchError(f"the images in {path} have several sizes.")
    return Claimed(_as_images(path, np.stack(arrays)), None)


def _torch_file(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as reason:  # its unpickler raises anything on a damaged file
        raise FdbenchError(
            f"{path} is cut short, or holds more than tensors: it is not opened.\n"
            'Save the images alone: torch.save({"adv_complete": adv}, ...)'
        ) from reason
    if not isinstance(content, Mapping):
        return {_IMAGES[0]: content}
    return {str(name): value for name, value in content.items()}


def _numpy_file(path: Path) -> Mapping[str, Any]:
    try:
        return {_IMAGES[0]: np.load(path, mmap_mode="r", allow_pickle=False)}
    except UNREADABLE_NPZ as reason:
        raise FdbenchError(f"{path} can't be read: {reason}") from reason


def _numpy_archive(path: Path) -> Mapping[str, Any]:
    names = (*_IMAGES, *_LABELS)
    if not zipfile.is_zipfile(path):
        raise FdbenchError(f"{path} is not a .npz file, or is cut short.")
    try:
        check_sizes(path, names)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return {name: content[name] for name in content.files if name in names}
    except UNREADABLE_NPZ as reason:
        raise FdbenchError(f"{path} has an array that can't be read: {reason}") from reason


_READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    ".pt": _torch_file,
    ".pth": _torch_file,
    ".npy": _numpy_file,
    ".npz": _numpy_archive,
}


def _as_tensor(path: Path, given: object) -> Tensor:
    """Returns numbers as a dense tensor on the CPU. Raises FdbenchError for anything else."""
    if isinstance(given, Tensor):
        if given.layout != torch.strided or given.is_meta or given.is_quantized:
            raise FdbenchError(f"{path} holds a tensor without plain values.\n{_FORMS}")
        return given.detach()
    if not isinstance(given, np.ndarray) or given.dtype.kind not in "iufb":
        kind = getattr(given, "dtype", type(given).__name__)
        raise FdbenchError(f"{path} holds {kind}, not numbers.\n{_FORMS}")
    return torch.from_numpy(given.astype(given.dtype.newbyteorder("=")))


def _as_images(path: Path, given: object) -> Images:
    images = _as_tensor(path, given)
    if images.ndim == 4 and images.shape[1] != 3 and images.shape[3] == 3:
        images = images.permute(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] != 3:
        raise FdbenchError(f"{path} holds images of shape {tuple(images.shape)}.\n{_FORMS}")
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.is_floating_point():
        raise FdbenchError(f"{path} holds images of type {images.dtype}.\n{_FORMS}")
    return images.float()


def _as_labels(path: Path, given: object) -> Int64[Tensor, " N"] | None:
    if given is None:
        return None
    labels = _as_tensor(path, given)
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise FdbenchError(f"{path} holds labels {labels.dtype} {tuple(labels.shape)}.")
    return labels.long()
