"""The images an attack wrote to a folder: PNGs by name, checked and clipped one by one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from fdbench.errors import FdbenchError
from fdbench.randomness import ImageId
from fdbench.submission.process import ProcessResult
from fdbench.types import Batch, Images

_LOSSY = (".jpg", ".jpeg")
_DECODED = ("PNG", "JPEG", "BMP", "GIF")  # an EPS named a.png would start Ghostscript
_UNREADABLE = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)
STATUSES = {  # status of an image: its text in a summary
    "attacked": "attacked",
    "missing": "missing",
    "not-png": "not PNG (JPEG changes pixels by itself)",
    "unreadable": "unreadable",
    "size": "of another size",
}

Pixels = UInt8[Tensor, "B 3 H W"]  # RGB, 0 .. 255
Picture = UInt8[Tensor, "3 H W"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The legal images an attack wrote for some images, and the clean image where it wrote none."""

    ids: tuple[ImageId, ...]
    adv: Pixels
    status: tuple[str, ...]  # in STATUSES
    clipped: tuple[int, ...]  # clipped pixels, by image
    converted: tuple[bool, ...]  # grey, with a palette or with transparency: converted to RGB
    run: ProcessResult | None = None  # None for images that were made elsewhere

    @property
    def unattacked(self) -> tuple[ImageId, ...]:
        """The images that are clean in `adv`."""
        known = zip(self.ids, self.status, strict=True)
        return tuple(image for image, status in known if status != "attacked")

    @property
    def counts(self) -> dict[str, int]:
        """Counts of images and of clipped pixels, which may be summed over batches."""
        return {
            "images": len(self.ids),
            **{status: self.status.count(status) for status in STATUSES},
            "clipped_pixels": sum(self.clipped),
            "clipped_images": sum(count > 0 for count in self.clipped),
            "converted": sum(self.converted),
        }


def summary(counts: Mapping[str, int]) -> list[str]:
    """Returns the counts of one outcome, or summed over several, as sentences."""
    refused = [f"{counts[key]} {STATUSES[key]}" for key in list(STATUSES)[1:] if counts[key]]
    lines = [f"{counts['attacked']} of {counts['images']} images attacked"]
    if refused:
        lines.append(f"counted as unattacked: {', '.join(refused)}")
    if counts["clipped_pixels"]:
        lines.append(
            f"{counts['clipped_pixels']} pixels in {counts['clipped_images']} images were outside "
            "eps and had to be clipped"
        )
    if counts["converted"]:
        lines.append(f"{counts['converted']} images were not RGB and were converted")
    return lines


@dataclass(frozen=True, eq=False)
class _Output:
    status: str
    image: Picture | None = None
    converted: bool = False


def _read(path: Path, height: int, width: int) -> _Output:
    """Reads an attack's output for one image, whatever the file contains."""
    if not path.is_file():
        lossy = any(path.with_name(path.stem + ending).is_file() for ending in _LOSSY)
        return _Output("not-png" if lossy else "missing")
    try:
        with Image.open(path, formats=_DECODED) as image:
            if image.format != "PNG":
                return _Output("not-png")
            if image.size != (width, height):
                return _Output("size")
            if image.mode.startswith("I"):  # 16 bits per pixel, not 0 .. 255
                return _Output("unreadable")
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
            return _Output("attacked", pixels, image.mode != "RGB")
    except _UNREADABLE:
        return _Output("unreadable")


def _clip(adv: Picture, clean: Picture, eps: int) -> tuple[Picture, int]:
    """Returns `adv` clipped to eps around `clean` and to 0 .. 255, and how many pixels changed."""
    low, high = (clean.int() - eps).clamp(min=0), (clean.int() + eps).clamp(max=255)
    legal = adv.int().maximum(low).minimum(high).to(torch.uint8)
    return legal, int((legal != adv).any(0).sum())


def read_all(
    files: Sequence[Path], batch: Batch, eps: int, run: ProcessResult | None = None
) -> Outcome:
    """Reads these files, one per image of the batch."""
    clean = whole_pixels(batch.x)
    adv, clipped = clean.clone(), [0] * len(files)
    outputs = [_read(path, *clean.shape[2:]) for path in files]
    for i, one in enumerate(outputs):
        if one.image is not None:
            adv[i], clipped[i] = _clip(one.image, clean[i], eps)
    return Outcome(
        batch.ids,
        adv,
        tuple(one.status for one in outputs),
        tuple(clipped),
        tuple(one.converted for one in outputs),
        run,
    )


def whole_pixels(x: Images) -> Pixels:
    """Returns the images in 0 .. 255."""
    return (255 * x.cpu()).round().to(torch.uint8)  # data sets are 8-bit: nothing is lost


def read_folder(folder: Path, batch: Batch, eps: int) -> Outcome:
    """Reads adversarial images of a batch that were made elsewhere, as folder/ID.png.

    Clips them to `eps` (1 .. 255) and [0, 255] as the competition did. Raises FdbenchError if there
    is no such folder.
    """
    if not folder.is_dir():
        raise FdbenchError(f"there is no folder {folder}.")
    return read_all([folder / f"{image}.png" for image in batch.ids], batch, eps)
