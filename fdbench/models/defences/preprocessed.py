"""Resizing and normalisation inside the function under attack."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fdbench.errors import BadValue, unknown
from fdbench.specs import ORDERS, RANGES, pick

INTERPOLATIONS = ("bilinear", "bicubic")  # those with both an antialiased form and a gradient


def scaling(mean: Sequence[float], std: Sequence[float]) -> str:
    """Returns `mean 0.485 0.456 0.406, std 0.229 0.224 0.225`, as printed and recorded."""
    texts = (" ".join(f"{value:.6g}" for value in values) for values in (mean, std))
    return "mean {}, std {}".format(*texts)


class Preprocessed(nn.Module):
    """RGB images (B, 3, H, W) in [0, 1] of any size -> logits of `net` on (x - mean) / std.

    The whole image is resized to px x px, whatever its shape: fdbench's data are cropped when they
    are read, and a second crop would hide part of them from the attack. With `crop_from`, as for
    image files that were not, its shortest edge is resized to that and the central px x px are
    taken, as torchvision does. Images of px x px are taken as they are. Bicubic values beyond
    [0, 1] are kept: clamping would remove their gradient. Resizing runs in float32 at least, also
    in a bf16 copy.

    Args:
        px: side of the images `net` was trained on; None: images are not resized.
        mean, std: per channel, in image units: a network that wants (p - 127) / 128 of pixels
            p = 0 .. 255 has 127/255 and 128/255.
        interpolation: "bilinear" or "bicubic".
        antialias: as Pillow resizes; without it, as TensorFlow does by default.
        order: "bgr" for networks that OpenCV's images trained; mean and std are then B, G, R too.
        range: 255 for networks of pixels 0 .. 255: they get 255 (x - mean) / std.
        crop_from: the shortest edge before the crop; None: no crop.
        source_crop: what its weights' metadata say of that; nothing is done with it here.

    Raises BadValue for an unknown interpolation or order, or a px, crop_from, mean, std or range
    out of range.
    """

    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        px: int | None = None,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        interpolation: str = "bicubic",
        *,
        antialias: bool = True,
        order: str = "rgb",
        range: int = 1,
        crop_from: int | None = None,
        source_crop: int | None = None,
    ) -> None:
        super().__init__()
        if interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", interpolation, INTERPOLATIONS)
        if px is not None and px < 1:
            raise BadValue(f"px must be 1 or more, or None, got {px}.")
        if crop_from is not None and crop_from < (px or math.inf):
            raise BadValue(f"crop_from must be px or more, and px given: got {crop_from} and {px}.")
        if len(mean) != 3 or len(std) != 3 or not all(value > 0 for value in std):
            raise BadValue(f"mean and std need three values, std above 0: got {mean}, {std}.")
        pick("channel order", order, ORDERS)
        if range not in RANGES:
            raise BadValue(f"range must be 1 or 255, got {range}.")
        self.net, self.px, self.order, self.range = net, px, order, range
        self.interpolation, self.antialias = interpolation, antialias
        self.crop_from, self.source_crop = crop_from, source_crop
        kinds = [", BGR"] * (order == "bgr") + [f", times {range}"] * (range != 1)
        self.description = f"{self._resizing()}, {scaling(mean, std)}{''.join(kinds)}"
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    def _resizing(self) -> str:
        if self.px is None:
            return "no resize"
        antialias = ", antialias" if self.antialias else ""
        central = f"{self.crop_from}, central " if self.crop_from else ""
        return f"resize to {central}{self.px}x{self.px} ({self.interpolation}{antialias})"

    @property
    def uncropped(self) -> str:
        """Says that the network's source crops and this does not; empty if that is not so."""
        if self.crop_from or self.source_crop in (None, self.px):
            return ""
        return (
            f"its source resizes to {self.source_crop} and takes the central {self.px} px: for "
            "images that were not cropped when read, --crop source"
        )

    def _resized(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 P Q"]:
        if self.px is None or x.shape[2:] == (self.px, self.px):
            return x
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        size = [self.px, self.px]
        if self.crop_from:  # the long edge is rounded down, as torchvision's
            size = [self.crop_from * side // min(x.shape[2:]) for side in x.shape[2:]]
        x = F.interpolate(
            x, size, mode=self.interpolation, align_corners=False, antialias=self.antialias
        )
        top, left = (round((side - self.px) / 2) for side in size)
        return x[:, :, top : top + self.px, left : left + self.px]

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
        x = self._resized(x)  # (B, 3, px, px)
        x = x.flip(1) if self.order == "bgr" else x
        x = (x - self.mean) / self.std
        x = x * self.range if self.range != 1 else x
        return self.net(x.to(self.mean.dtype))  # .to(bf16) casts `mean` along with the weights

    def extra_repr(self) -> str:
        return self.description
