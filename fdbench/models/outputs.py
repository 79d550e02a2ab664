"""What a network makes of a batch of images: logits, or a description of what is wrong."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fdbench.errors import FdbenchError
from fdbench.models.zoo.users_code import users_code
from fdbench.types import Images, Logits

_SELECT = """Let the loader's network return them alone:

class Logits(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x){which}
"""


@torch.no_grad()
def logits_of(net: nn.Module, x: Images, ref: str) -> Logits:
    """Returns the logits (B, C) of a network on some images.

    Raises FdbenchError, with what to write in the network's loader, if it fails on them or returns
    anything else. Running out of memory stays as it is.
    """
    images = f"images {tuple(x.shape)}, {str(x.dtype).removeprefix('torch.')} in [0, 1]"
    try:
        with users_code(f"{ref} on {images}"):
            returned = net(x)
    except FdbenchError as failed:
        if failed.__cause__ is None:  # a network's own message
            raise
        raise FdbenchError(f"{failed.message}\n{_HINT}") from failed.__cause__
    if not isinstance(returned, Tensor):
        raise FdbenchError(
            f"{ref} returns {_parts(returned)}, not logits (B, C).\n{_select(returned)}"
        )
    if not returned.is_floating_point() or returned.ndim != 2 or len(returned) != len(x):
        raise FdbenchError(
            f"{ref} returns {_parts(returned)} for {images}, not logits (B, C).\n{_shape(returned)}"
        )
    return returned.float()


_HINT = """If it takes another size, fdbench.Preprocessed(net, px, mean, std) in its loader resizes
and normalises the images."""


def _parts(value: Any) -> str:
    """Returns `a tuple of (4, 10) float32 and None`."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key!r}: {_parts(one)}" for key, one in value.items())
        return f"a {type(value).__name__} with {pairs}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {', '.join(map(_parts, value))}"
    return "None" if value is None else f"a {type(value).__name__}"


def _select(value: Any) -> str:
    """Returns the code that picks the logits out of what a network returns."""
    pairs = (
        value.items()
        if isinstance(value, Mapping)
        else enumerate(value if isinstance(value, tuple | list) else ())
    )
    matrices = [key for key, one in pairs if isinstance(one, Tensor) and one.ndim == 2]
    if not matrices:
        return "A network takes RGB images (B, 3, H, W) in [0, 1] and returns a tensor (B, C)."
    which = "logits" if "logits" in matrices else matrices[0]
    return _SELECT.format(which=f"[{which!r}]").rstrip()


def _shape(returned: Tensor) -> str:
    if returned.ndim > 2 and returned.shape[2:].numel() == 1:
        return "Flatten them in the loader: torch.nn.Sequential(net, torch.nn.Flatten())"
    if not returned.is_floating_point():
        return "Classes have no gradient: return what they are the argmax of."
    return "A network takes RGB images (B, 3, H, W) in [0, 1] and returns a row for each image."
