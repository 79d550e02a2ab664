"""Data sets by name, as batches of images in [0, 1]; the only place that
scales pixels (contract C1).
"""

import math
from dataclasses import dataclass
from pathlib import Path

from fdbench.data.dataset import SPLITS, Augment, Dataset, Request
from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.registry import imported
from fdbench.types import Batch, Images

__all__ = ["DATA", "SPLITS", "Augment", "Batch", "Dataset", "check_images", "open_data"]

_ROUNDING = 1e-6  # how far outside [0, 1] a value may lie (contract C1)


@dataclass(frozen=True)
class _Kind:
    form: str  # how it is typed
    summary: str
    opener: str  # "module:function", imported on first use; Request -> Dataset
    takes: tuple[str, ...] = ()  # which of the options have a meaning for it


_TORCHVISION = ("data_dir", "download")
_KINDS = {
    "fashion-mini": _Kind(
        "fashion-mini",
        "6000 + 1000 images of Fashion-MNIST, embedded (28 px, 10 classes)",
        "fdbench.data.named:open_fashion_mini",
    ),
    "fashion-mnist": _Kind(
        "fashion-mnist",
        "60 000 + 10 000 images of clothing (28 px, 10 classes)",
        "fdbench.data.named:open_fashion_mnist",
        _TORCHVISION,
    ),
    "cifar10": _Kind(
        "cifar10",
        "50 000 + 10 000 photographs (32 px, 10 classes)",
        "fdbench.data.named:open_torchvision",
        _TORCHVISION,
    ),
    "cifar100": _Kind(
        "cifar100",
        "50 000 + 10 000 photographs (32 px, 100 classes)",
        "fdbench.data.named:open_torchvision",
        _TORCHVISION,
    ),
    "imagenet": _Kind(
        "imagenet",
        "ImageNet-1k in --data-dir DIR with train/ and val/ (224 px, 1000 classes)",
        "fdbench.data.imagenet:open_imagenet",
        ("data_dir", "px"),
    ),
    "folder": _Kind(
        "folder:DIR",
        "images in DIR/train/CLASS/ and DIR/test/CLASS/, or DIR/CLASS/ (test only)",
        "fdbench.data.folder:open_folder",
        ("px",),
    ),
    "npz": _Kind(
        "npz:PATH",
        "x uint8 (N, H, W, 3), y int64 (N,); a file, or a folder with train.npz and test.npz",
        "fdbench.data.npz:open_npz",
    ),
    "caad": _Kind(
        "caad:DIR",
        "NIPS 2017's images: DIR/images.csv, labels 1..1000, and DIR/images/*.png (test only)",
        "fdbench.data.caad:open_caad",
        ("px",),
    ),
}
DATA = {kind.form: kind.summary for kind in _KINDS.values()}
_FLAGS = {"data_dir": "--data-dir", "download": "--download", "px": "--px"}


def _find(ref: str) -> tuple[_Kind, Path | None]:
    """The kind of data set that was typed, and the path after its colon, if it takes one."""
    head, colon, tail = ref.partition(":")
    kind = _KINDS.get(head)
    if kind is None or (colon and ":" not in kind.form):
        hint = "Your own images: folder:DIR or npz:PATH; `fdbench list data` shows all."
        if Path(ref).exists():
            hint = f"For what lies there: folder:{ref} or npz:{ref}."
        raise unknown("data set", ref if kind else head, DATA if kind else _KINDS, hint)
    if ":" in kind.form and not tail:
        raise BadValue(f"{ref!r} does not say where the data lie: {kind.form}.")
    return kind, Path(tail).expanduser() if tail else None


def open_data(
    ref: str,
    split: str,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    px: int | None = None,
) -> Dataset:
    """The data set `ref` (a form in DATA), one split of it: "train", "held-out" or "test".

    "test" is the evaluation split (ImageNet's val); "held-out" is a fixed slice of the training
    set, for choosing settings, and "train" the rest. `px` is the size that image files are resized
    to; data in arrays keep theirs. Raises BadValue for an unknown name or an option that has no
    meaning for it, FdbenchError for data that are missing or malformed.
    """
    kind, path = _find(ref)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    given = {"data_dir": data_dir is not None, "download": download, "px": px is not None}
    for option, flag in _FLAGS.items():
        if given[option] and option not in kind.takes:
            allowed = ", ".join(_FLAGS[name] for name in kind.takes) or "no such option"
            raise BadValue(f"{flag} has no meaning for --data {kind.form}, which takes {allowed}.")
    if px is not None and px < 1:
        raise BadValue(f"--px must be at least 1, got {px}.")
    opened: Dataset = imported(kind.opener)(Request(ref, split, path, data_dir, download, px))
    return opened


def check_images(x: Images) -> None:
    """Nothing, if every value lies in [0, 1] give or take 1e-6 (contract C1).

    Raises FdbenchError naming the likely cause otherwise, NaN included.
    """
    if x.numel() == 0:
        return
    low, high = x.min().item(), x.max().item()  # NaN, if any value is
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return
    causes = {
        "NaN: an earlier computation failed.": math.isnan(low),
        "Negative: probably normalised already. Models normalise by themselves: give [0, 1].": (
            low < -_ROUNDING
        ),
        "Probably 0 .. 255: divide by 255.": high > 2,
    }
    cause = next((text for text, holds in causes.items() if holds), "Clamp to [0, 1].")
    raise FdbenchError(f"images must lie in [0, 1], got {low:.4g} .. {high:.4g}.\n{cause}")
