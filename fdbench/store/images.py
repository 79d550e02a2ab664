"""Adversarial images on the disk: safetensors shards named by the hash of their bytes.

A modified shard no longer matches its name. Rows and set indices record which shard holds which
image. They are written after the shard, so a missing shard was deleted later.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from fdbench.errors import FdbenchError
from fdbench.files import contents, parse_json, write_atomically
from fdbench.randomness import ImageId
from fdbench.store.tensors import pack, unpack
from fdbench.types import Images
from fdbench.units import pixels as pixels_text

# In pixels, 1/255: how far outside the ball a rounded image may be, so that 8/255 is 8 whole
# pixels in float32. verdict.check allows 1e-6 of [0, 1], 2.55e-4 pixels; float32 needs 3e-5.
_SLACK = 1e-4


@dataclass(frozen=True)
class Shard:
    """Some images under each reading of an attack; uint8 if they are whole pixels."""

    ids: tuple[ImageId, ...]
    tensors: Mapping[str, Tensor]  # (B, 3, H, W) each

    def images(self, reading: str, ids: Sequence[ImageId]) -> Images:
        """The images of one reading, in the order of `ids`, in [0, 1].

        Raises FdbenchError if the shard lacks one of them.
        """
        place = {image: i for i, image in enumerate(self.ids)}
        if reading not in self.tensors or not place.keys() >= set(ids):
            raise FdbenchError(f"a shard lacks images that it should hold under {reading}.")
        return as_images(self.tensors[reading][[place[image] for image in ids]])


def as_images(stored: Tensor) -> Images:
    """A shard's tensor as images in [0, 1]."""
    return stored.float() / 255 if stored.dtype == torch.uint8 else stored


def write_shard(folder: Path, shard: Shard) -> str:
    """Writes the shard, completely or not at all, and returns its name.

    Raises FdbenchError if it can't be written.
    """
    content = pack(shard.tensors, {"ids": json.dumps(list(shard.ids))})
    name = hashlib.sha256(content).hexdigest()[:32] + ".safetensors"
    write_atomically(folder / name, content)
    return name


def read_shard(path: Path) -> Shard:
    """The shard in a file. Raises FdbenchError if it is missing, modified or not a shard."""
    try:
        content = contents(path)
    except OSError as reason:
        raise FdbenchError(f"{path} can't be read: {reason.strerror}.") from reason
    if hashlib.sha256(content).hexdigest()[:32] != path.stem:
        raise FdbenchError(f"{path} is not what was written: its bytes don't fit its name.")
    try:
        tensors, metadata = unpack(content)
        return Shard(tuple(parse_json(metadata["ids"])), tensors)
    except (ValueError, TypeError, KeyError) as reason:
        raise FdbenchError(f"{path} is not a shard of images: {reason!r}.") from reason


def whole_pixels(adv: Images, x: Images, eps: float) -> UInt8[Tensor, "B 3 H W"]:
    """`adv` (linf) in whole pixels, 0 .. 255, rounded to the nearest that stays within eps of `x`.

    Plain rounding would leave the ball wherever eps or `x` is not a whole number of pixels. Raises
    FdbenchError if the ball has no whole pixel: `x` is between two, and eps below half a pixel.
    """
    low = (255 * (x - eps) - _SLACK).ceil().clamp(min=0)
    high = (255 * (x + eps) + _SLACK).floor().clamp(max=255)
    if (low > high).any():
        raise FdbenchError(
            f"eps {pixels_text(eps)} leaves no whole pixel near images that were resized or scaled."
            "\nKeep the exact images instead: --save-adv float"
        )
    return (255 * adv).round().maximum(low).minimum(high).to(torch.uint8)


def read_png(path: Path) -> UInt8[Tensor, "3 H W"]:
    """The pixels that write_png wrote. Raises FdbenchError for a file that is not an RGB PNG."""
    try:
        with Image.open(BytesIO(contents(path)), formats=["PNG"]) as image:
            mode, array = image.mode, np.array(image)
    except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as reason:
        raise FdbenchError(f"{path} is not a readable PNG: {reason}.") from reason
    if mode != "RGB":
        raise FdbenchError(f"{path} is {mode}, not RGB.")
    return torch.from_numpy(array).permute(2, 0, 1)


def write_png(path: Path, pixels: UInt8[Tensor, "3 H W"]) -> None:
    """Writes one image as PNG, completely or not at all."""
    buffer = BytesIO()
    array = np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())
    Image.fromarray(array).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())
