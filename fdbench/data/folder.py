"""Data sets of image files in class folders, decoded on demand.

`folder:DIR` is DIR/train/CLASS/*.png with DIR/test/CLASS/*.png (or DIR/val), or DIR/CLASS/*.png
alone, a test set. Classes are numbered in the alphabetical order of their folders.
"""

import hashlib
import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fdbench.console import warn
from fdbench.data.dataset import Augment, Dataset, Reader, Request, rows_of
from fdbench.data.memory import pad_crop_flip, to_images
from fdbench.errors import FdbenchError
from fdbench.randomness import ImageId
from fdbench.types import Images

ENDINGS = (".png", ".jpg", ".jpeg")
_FORMATS = ("PNG", "JPEG")  # by content: an EPS named a.png would start Ghostscript
_MOST_PIXELS = 64_000_000  # of one image: a PNG of 167 kB can claim gigabytes
_TEST_FOLDERS = ("test", "val")  # the first that exists
_DEEP = ("I", "F")  # 16 and 32 bits a pixel, which conversion to RGB would clip at 255
_NEGATIVE = re.compile(r"-\d+")  # a class folder's name: the label -1 marks unlabelled images
_MOST_THREADS = 32  # ThreadPoolExecutor's default maximum


def open_rgb(path: str) -> Image.Image:
    """The image in RGB; transparency is dropped. Raises FdbenchError naming the file."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if not 0 < image.width * image.height <= _MOST_PIXELS:
                raise FdbenchError(
                    f"{path} has {image.width} x {image.height} pixels; the most is "
                    f"{_MOST_PIXELS:,}. Make it smaller, or take it out."
                )
            if image.mode.startswith(_DEEP):
                raise FdbenchError(f"{path} has more than 8 bits a pixel: convert it to 8 first.")
            return image.convert("RGB")
    except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as reason:
        raise FdbenchError(f"{path} is not a readable image: {reason}") from reason


def centre_crop(image: Image.Image, edge: int, px: int) -> Image.Image:
    """Resizes the shortest edge to `edge` (bicubic), then crops the central px x px."""
    scale = edge / min(image.size)
    width, height = (max(edge, round(side * scale)) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - px) // 2, (height - px) // 2
    return image.crop((left, top, left + px, top + px))


def decoded(read: Callable[[int], npt.NDArray[Any]], count: int) -> Tensor:
    """read(0) .. read(count - 1) stacked; in threads, since decoding releases the GIL."""
    threads = min(count, os.cpu_count() or 1, _MOST_THREADS)
    with ThreadPoolExecutor(threads, "fdbench-decode") as pool:
        return torch.from_numpy(np.stack(list(pool.map(read, range(count)))))


@dataclass(frozen=True)
class Listing:
    """The images below one folder of class folders, by relative name, in alphabetical order."""

    root: Path
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """File names without extension; relative paths if two file names are equal."""
        paths = tuple(posixpath.splitext(name)[0] for name in self.names)
        stems = tuple(posixpath.basename(path) for path in paths)
        if len(set(stems)) == len(stems):
            return stems
        repeated = [path for path, count in Counter(paths).items() if count > 1]
        if repeated:
            raise FdbenchError(
                f"{self.root}: two images are named {repeated[0]!r}, extensions aside."
            )
        return paths


def class_folders(root: Path) -> tuple[str, ...]:
    """The names of the class folders in `root`.

    Raises FdbenchError if there are none, or one is named like a negative label.
    """
    if not root.is_dir():
        raise FdbenchError(f"there is no folder {root}.")
    with os.scandir(root) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    if not names:
        raise FdbenchError(f"{root} has no class folders: put images in {root}/CLASS/.")
    for name in names:
        if _NEGATIVE.fullmatch(name):
            raise FdbenchError(
                f"{root}/{name} would be a class of its own, the first one. If it holds images "
                "without a label, move it away; else give it another name."
            )
    return tuple(names)


def _images_below(folder: Path) -> Iterator[tuple[str, int]]:
    for parent, _, files in os.walk(folder):
        for file in files:
            if file.lower().endswith(ENDINGS) and not file.startswith("."):
                path = os.path.join(parent, file)
                yield Path(path).relative_to(folder.parent).as_posix(), os.stat(path).st_size


def list_images(root: Path, classes: Sequence[str]) -> Listing:
    """Every image below the class folders. Raises FdbenchError if there is none."""
    images = [
        (name, size, label)
        for label, folder in enumerate(classes)
        for name, size in sorted(_images_below(root / folder))
    ]
    if not images:
        raise FdbenchError(f"{root} holds no images ({', '.join(ENDINGS)}) in its class folders.")
    names, sizes, labels = zip(*images, strict=True)
    return Listing(root, names, sizes, labels)


def from_files(
    request: Request,
    listing: Listing,
    class_names: tuple[str, ...],
    px: int,
    reader: Callable[[tuple[str, ...]], Reader],
) -> Dataset:
    """The requested split of the listed images; `reader` makes a Reader from their paths."""
    rows = rows_of(request, len(listing.names)).tolist()
    digest = hashlib.sha256()
    for row in rows:
        line = f"{listing.names[row]}\t{listing.sizes[row]}\t{listing.labels[row]}\n"
        digest.update(line.encode())
    ids = listing.ids
    return Dataset(
        name=request.name,
        split=request.split,
        classes=len(class_names),
        px=px,
        labels=torch.tensor([listing.labels[row] for row in rows]),
        ids=tuple(ids[row] for row in rows),
        fingerprint=digest.hexdigest(),
        read=reader(tuple(f"{listing.root}/{listing.names[row]}" for row in rows)),
        class_names=class_names,
        ahead=True,
    )


@dataclass(frozen=True, eq=False)
class FolderReader:
    paths: tuple[str, ...]
    px: int
    resize: bool

    def _pixels(self, path: str) -> npt.NDArray[np.uint8]:
        image = open_rgb(path)
        if not self.resize and image.size != (self.px, self.px):
            raise FdbenchError(
                f"{path} is {image.width}x{image.height}, others are {self.px}x{self.px}.\n"
                f"Add --px {self.px} (or another size) to resize and centre-crop all of them."
            )
        return np.asarray(centre_crop(image, self.px, self.px))

    def __call__(
        self, positions: Sequence[int], ids: Sequence[ImageId], augment: Augment | None
    ) -> Images:
        x = decoded(lambda i: self._pixels(self.paths[positions[i]]), len(positions))
        x = x.permute(0, 3, 1, 2).contiguous()  # (B, H, W, 3) -> (B, 3, H, W)
        return to_images(x if augment is None else pad_crop_flip(x, ids, augment))


def _parts(root: Path) -> dict[str, Path]:
    """The folders of "train" and "test", if present."""
    test = next((root / name for name in _TEST_FOLDERS if (root / name).is_dir()), None)
    parts = {"train": root / "train"} if (root / "train").is_dir() else {}
    return parts | {"test": test} if test else parts or {"test": root}


def part_folder(request: Request, parts: dict[str, Path]) -> tuple[Path, tuple[str, ...]]:
    """The requested part's folder and classes; if both parts exist, their classes must match."""
    if request.part not in parts:
        kind, folders = (
            ("training", "train") if request.part == "train" else ("test", "test or val")
        )
        raise FdbenchError(f"{request.name} has no {kind} images: it has no folder {folders}.")
    classes = {part: class_folders(folder) for part, folder in parts.items()}
    for part, other in (("train", "test"), ("test", "train")):
        alone = sorted(set(classes.get(part, ())) - set(classes.get(other, ())))
        if alone and len(classes) == 2:
            raise FdbenchError(
                f"{request.name}: the classes of its two parts differ; only in {parts[part].name}: "
                f"{', '.join(alone[:5])}{', ...' if len(alone) > 5 else ''}."
            )
    return parts[request.part], classes[request.part]


def open_folder(request: Request) -> Dataset:
    """The user's own images in class folders.

    Without `px` all must be square and of one size; with it, each image's shortest edge is resized
    to px (bicubic) and the central px x px are cropped. Training shifts and flips them like small
    images (He et al. 2016, Sec. 4.2), whatever their size.
    """
    root = request.path or Path()
    if not root.is_dir():
        raise FdbenchError(f"{request.name}: there is no folder {root}.")
    folder, class_names = part_folder(request, _parts(root))
    _warn_of_numbers(folder, class_names)
    listing = list_images(folder, class_names)
    px = request.px or common_size(f"{folder}/{listing.names[0]}")

    def reader(paths: tuple[str, ...]) -> Reader:
        return FolderReader(paths, px, resize=request.px is not None)

    return from_files(request, listing, class_names, px, reader)


def _warn_of_numbers(folder: Path, class_names: Sequence[str]) -> None:
    """Warns where class folders are named by numbers that are not their labels."""
    if not all(name.isdecimal() for name in class_names):
        return
    in_order = sorted(class_names, key=int)
    if in_order != list(class_names):
        name = next(name for label, name in enumerate(class_names) if in_order[label] != name)
        warn(
            f"{folder}: labels follow the alphabetical order of the class folders, as "
            f"torchvision's ImageFolder has it: {name} is label {class_names.index(name)}. If your "
            "network counts them as numbers, rename the folders to equal length (002, 010)."
        )


def common_size(first: str) -> int:
    """The width of the first image, which all others must match."""
    image = open_rgb(first)
    if image.width != image.height:
        raise FdbenchError(
            f"{first} is {image.width}x{image.height}, but networks take square images.\n"
            f"Add --px {min(image.size)} (or another size) to resize and centre-crop all of them."
        )
    return image.width
