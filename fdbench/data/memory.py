"""Data sets held in memory as uint8, and the augmentation of small images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from fdbench.data.dataset import Augment, Dataset, Request, rows_of
from fdbench.randomness import ImageId, uniform
from fdbench.types import Images

Stored = UInt8[Tensor, "B C H W"]  # one channel (grey) or three (RGB), 0 .. 255


def pad_crop_flip(x: Stored, ids: Sequence[ImageId], augment: Augment) -> Stored:
    """Shifts each image by up to px // 8 pixels, padded with zeros, and flips it at random.

    He et al. 2016, Sec. 4.2: 4 pixels at 32 px, a random crop of the padded image or its mirror.
    """
    count, channels, height, width = x.shape
    pad = height // 8
    unit = torch.from_numpy(uniform(augment.seed, augment.stream, ids, (3,))).double()
    down, right = (unit[:, :2] * (2 * pad + 1)).long().unbind(1)
    rows = torch.arange(height) + down[:, None]  # (B, H)
    columns = torch.arange(width) + right[:, None]  # (B, W)
    columns = torch.where(unit[:, 2:] < 0.5, columns.flip(1), columns)
    padded = F.pad(x, (pad, pad, pad, pad))
    image = torch.arange(count)[:, None, None, None]
    channel = torch.arange(channels)[:, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]]


def to_images(x: Stored) -> Images:
    """Scales 0 .. 255 to [0, 1] and repeats grey in three channels (contract C1)."""
    scaled = x.float() / 255
    return scaled if x.shape[1] == 3 else scaled.repeat(1, 3, 1, 1)


@dataclass(frozen=True, eq=False)
class _Memory:
    x: Stored

    def __call__(
        self, positions: Sequence[int], ids: Sequence[ImageId], augment: Augment | None
    ) -> Images:
        x = self.x[torch.tensor(list(positions), dtype=torch.int64)]
        return to_images(x if augment is None else pad_crop_flip(x, ids, augment))


def in_memory(
    request: Request,
    x: npt.NDArray[np.uint8],
    y: npt.NDArray[Any],
    classes: int,
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """The requested split of a part: x, (N, H, H) grey or (N, H, H, C), with labels y, (N,)."""
    rows = rows_of(request, len(y))
    x, y = np.ascontiguousarray(x[rows]), y[rows].astype(np.int64)
    digest = hashlib.sha256(f"{x.shape}".encode())
    digest.update(x.data)
    digest.update(y.data)
    stored = torch.from_numpy(x.reshape(*x.shape[:3], -1)).permute(0, 3, 1, 2).contiguous()
    return Dataset(
        name=request.name,
        split=request.split,
        classes=classes,
        px=x.shape[1],
        labels=torch.from_numpy(y),
        ids=tuple(rows.tolist()),
        fingerprint=digest.hexdigest(),
        read=_Memory(stored),
        class_names=class_names,
    )
