"""Checks what is handed in from Python: networks, images, labels. Each error ends with a line that
converts what was given; nothing is converted in silence, since a wrong guess is a wrong number.
"""

import numpy as np
import torch
from torch import nn

from fdbench.data import Dataset, check_images
from fdbench.errors import BadValue, FdbenchError
from fdbench.models import logits_of
from fdbench.types import Images, Labels

_IMAGES = "images are a float32 tensor (B, 3, H, W), RGB in [0, 1]"
_LABELS = "an int64 tensor (B,)"


def fit(net: nn.Module, x: Images) -> int:
    """Checks a network and the images that it is to be attacked on; returns its number of classes.

    Raises BadValue for anything that is not a network, or not images; FdbenchError for a network in
    training mode, values outside [0, 1], and a network that doesn't return logits (B, C).
    """
    if not isinstance(net, nn.Module):
        hint = f"fdbench.load_model({net!r})" if isinstance(net, str) else "a torch.nn.Module"
        raise BadValue(f"net is {_described(net)}, not a network.\nGive {hint}")
    inference_mode(net)
    _check_tensor(x)
    check_images(x)
    _same_device(net, x)
    return logits_of(net, x[:1], type(net).__name__).shape[1]


def inference_mode(net: nn.Module) -> None:
    """Raises FdbenchError for a network in training mode."""
    if net.training:
        raise FdbenchError(
            "the network is in training mode: its logits depend on the batch.\nCall net.eval()."
        )


def labels(given: Labels, x: Images, classes: int, name: str = "labels") -> None:
    """Checks true or target classes, one for each image. Raises BadValue."""
    what = f"{name} must be {_LABELS}"
    if not isinstance(given, torch.Tensor):
        make = "from_numpy" if isinstance(given, np.ndarray) else "tensor"
        raise BadValue(f"{what}, got {_described(given)}.\n{name} = torch.{make}({name}).long()")
    if given.ndim == 2 and given.shape == (len(x), classes):
        raise BadValue(f"{what}, got {_described(given)}.\n{name} = {name}.argmax(1)")
    if given.dtype != torch.int64:
        raise BadValue(f"{what}, got {_described(given)}.\n{name} = {name}.long()")
    if given.shape != (len(x),):
        raise BadValue(f"{what}, one for each of {len(x)} images; got {_described(given)}.")
    low, high = int(given.min()), int(given.max())
    if low < 0 or high >= classes:
        hint = f"\n{name} = {name} - 1, if they count from 1." if low == 1 else ""
        known = f"the network has classes 0 to {classes - 1}"
        raise BadValue(f"{name} go from {low} to {high}, {known}.{hint}")


def data(given: str | Dataset) -> None:
    """Checks what is to be evaluated on. Raises BadValue."""
    if not isinstance(given, str | Dataset):
        raise BadValue(
            f"data is {_described(given)}, not the name of a data set or a Dataset.\n"
            "Images in memory: fdbench.pgd(net, x, labels, ...), or np.savez them and give "
            '"npz:FILE.npz".'
        )


def _described(value: object) -> str:
    if isinstance(value, torch.Tensor | np.ndarray):
        kind = "a tensor" if isinstance(value, torch.Tensor) else "a numpy array"
        return f"{kind} {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, str):
        return repr(value)
    return f"a {type(value).__name__}" if value is not None else "None"


def _check_tensor(x: object) -> None:
    """Checks type, shape and dtype; the error ends with a line that fixes all three."""
    if not isinstance(x, torch.Tensor | np.ndarray):
        raise BadValue(f"{_IMAGES}; got {_described(x)}.")
    if (
        isinstance(x, torch.Tensor)
        and x.dtype == torch.float32
        and x.ndim == 4
        and x.shape[1] == 3
        and x.numel()
    ):
        return
    shape = _rearranged(tuple(x.shape))
    if shape is None or not np.prod(x.shape):
        raise BadValue(f"{_IMAGES}; got {_described(x)}.")
    text = f"torch.from_numpy(x){shape}" if isinstance(x, np.ndarray) else f"x{shape}"
    scale = {"uint8": ".float() / 255", "float32": ""}
    text += scale.get(str(x.dtype).removeprefix("torch."), ".float()")
    raise BadValue(f"{_IMAGES}; got {_described(x)}.\nx = {text}")


def _rearranged(shape: tuple[int, ...]) -> str | None:
    """Returns what makes (B, 3, H, W) of a shape, None if nothing does."""
    one = len(shape) == 3
    match (1, *shape) if one else shape:
        case (_, 3, _, _):
            return "[None]" if one else ""
        case (_, _, _, 3):
            return ".permute(2, 0, 1)[None]" if one else ".permute(0, 3, 1, 2)"
        case (_, 1, _, _):
            return ".expand(3, -1, -1)[None]" if one else ".expand(-1, 3, -1, -1)"
    return None


def _same_device(net: nn.Module, x: Images) -> None:
    first = next(net.parameters(), None)
    if first is not None and first.device != x.device:
        raise BadValue(
            f"the images are on {x.device}, the network on {first.device}.\n"
            f"x, labels = x.to({str(first.device)!r}), labels.to({str(first.device)!r})"
        )
