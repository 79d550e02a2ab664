"""Networks that others trained, each behind its own preprocessing: torchvision's and timm's.

Weights are read where those packages keep what was fetched. Nothing is downloaded, and no pickle is
read that holds more than tensors (C8).
"""

import hashlib
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from fdbench.errors import BadValue, FdbenchError, unknown

INTERPOLATIONS = ("bilinear", "bicubic")  # those with both an antialiased form and a gradient


def scaling(mean: Sequence[float], std: Sequence[float]) -> str:
    """`mean 0.485 0.456 0.406, std 0.229 0.224 0.225`, as it is printed and recorded."""
    texts = (" ".join(f"{value:.6g}" for value in values) for values in (mean, std))
    return "mean {}, std {}".format(*texts)


class Preprocessed(nn.Module):
    """RGB images (B, 3, H, W) in [0, 1] of any size -> what `net` says of (x - mean) / std.

    The whole image becomes px x px, whatever its shape: the images of the competition are made for
    networks of several sizes, and a crop would hide part of them from the attack. Images of that
    size already are left alone. Bicubic values beyond [0, 1] stay: clamped, they would have no
    gradient. Resizing runs in float32 at least, also in a bf16 copy.

    Args:
        px: side of the images `net` was trained on; None: it takes them as they come.
        mean, std: per channel, in image units: a network that wants (p - 127) / 128 of pixels
            p = 0 .. 255 has 127/255 and 128/255.
        interpolation: "bilinear" or "bicubic".
        antialias: as Pillow resizes; without it, as TensorFlow does by default.

    Raises BadValue for what can't be meant.
    """

    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        px: int | None,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bicubic",
        *,
        antialias: bool = True,
    ) -> None:
        super().__init__()
        if interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", interpolation, INTERPOLATIONS)
        if px is not None and px < 1:
            raise BadValue(f"px must be 1 or more, or None, got {px}.")
        if len(mean) != 3 or len(std) != 3 or not all(value > 0 for value in std):
            raise BadValue(f"mean and std need three values, std above 0: got {mean}, {std}.")
        self.net, self.px = net, px
        self.interpolation, self.antialias = interpolation, antialias
        self.description = f"{self._resizing()}, {scaling(mean, std)}"
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    def _resizing(self) -> str:
        if self.px is None:
            return "no resize"
        antialias = ", antialias" if self.antialias else ""
        return f"resize to {self.px}x{self.px} ({self.interpolation}{antialias})"

    def _resized(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 P Q"]:
        if self.px is None or x.shape[2:] == (self.px, self.px):
            return x
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        size = (self.px, self.px)
        return F.interpolate(
            x, size, mode=self.interpolation, align_corners=False, antialias=self.antialias
        )

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
        x = (self._resized(x) - self.mean) / self.std  # (B, 3, px, px)
        return self.net(x.to(self.mean.dtype))  # .to(bf16) changes it along with the weights

    def extra_repr(self) -> str:
        return self.description


@dataclass(frozen=True)
class Foreign:
    """A network from elsewhere; `name` says which weights, where a reference may leave it open."""

    name: str
    net: Preprocessed


def _verified(path: Path, url: str) -> dict[str, Tensor]:
    """The tensors in a file that was fetched from `url`, whose name ends in its hash."""
    again = f"Delete it and fetch {url} again."
    digits = re.search(r"-([0-9a-f]{8,})\.", path.name)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if digits and not found.startswith(digits[1]):
        raise FdbenchError(
            f"{path} is damaged or cut short: its sha256 begins with {found[: len(digits[1])]}, "
            f"not with {digits[1]} as its name says.\n{again}"
        )
    try:
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as reason:
        raise FdbenchError(
            f"{path} does not hold tensors alone, and running what else is in it is not safe.\n"
            f"{again}\n({str(reason).splitlines()[0]})"
        ) from reason
    return tensors


@contextmanager
def _in_place_of_download(weights: Any, tensors: dict[str, Tensor]) -> Iterator[None]:
    """Inside, a torchvision builder that asks `weights` for its tensors is given these.

    The builders know what a network needs besides (sizes, renamed tensors, heads for training);
    by themselves they would unpickle without `weights_only`, and download what is not there.
    """
    weights.get_state_dict = lambda *_, **__: tensors
    try:
        yield
    finally:
        del weights.get_state_dict


def _torchvision_weights(name: str, wanted: str) -> Any:
    """The entry of torchvision's table of weights; `wanted` "" is its default."""
    from torchvision import models

    known = models.list_models(module=models)  # classifiers; its submodules hold detectors etc.
    if name not in known:
        raise unknown("torchvision model", name, known)
    table = models.get_model_weights(name)
    try:
        weights = table[wanted or "DEFAULT"]
    except KeyError:
        raise unknown(f"weights of tv:{name}", wanted, [one.name for one in table]) from None
    if not weights.meta["categories"]:
        raise BadValue(f"tv:{name}:{wanted} is no classifier: its last layers were not trained.")
    return weights


def from_torchvision(rest: str) -> Foreign:
    """The torchvision classifier of a reference `tv:NAME[:WEIGHTS]`, without its `tv:`.

    Resizing, mean and std are those of the weights' own `transforms()`, but for its crop. Raises
    BadValue for unknown names, FdbenchError where the file of weights is absent or damaged.
    """
    from torchvision import models

    name, _, wanted = rest.partition(":")
    weights = _torchvision_weights(name, wanted)
    path = Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[-1])
    if not path.is_file():
        raise FdbenchError(
            f"tv:{name} has no weights on this disk: {path} is missing, and nothing is downloaded "
            f"unasked.\nFetch it: curl --create-dirs -o '{path}' {weights.url}"
        )
    tensors = _verified(path, weights.url)
    # What a new network draws is overwritten; the generator it draws from is put back (C3).
    with torch.random.fork_rng(devices=[]), _in_place_of_download(weights, tensors):
        net = models.get_model(name, weights=weights)
    own = weights.transforms()
    px, kind = own.crop_size[0], own.interpolation.value
    wrapped = Preprocessed(net, px, own.mean, own.std, kind, antialias=bool(own.antialias))
    return Foreign(f"tv:{name}:{weights.name}", wrapped)


def _timm() -> Any:
    try:
        return import_module("timm")
    except ModuleNotFoundError as reason:
        if reason.name != "timm":
            raise
        raise FdbenchError(
            "timm:NAME needs the package timm, which is not installed.\npip install 'fdbench[timm]'"
        ) from reason


def _cached(cfg: Any) -> Path:
    """The file of weights of a timm network in the local cache of the Hugging Face Hub."""
    file = cfg.hf_hub_filename or "model.safetensors"
    if not cfg.hf_hub_id or not file.endswith(".safetensors"):
        raise FdbenchError(
            f"timm:{cfg.architecture}.{cfg.tag} has no .safetensors on the Hugging Face Hub, "
            "and other files can run code: choose other weights."
        )
    found = import_module("huggingface_hub").try_to_load_from_cache(cfg.hf_hub_id, file)
    if not isinstance(found, str):  # None, or a marker that the Hub has no such file
        raise FdbenchError(
            f"timm:{cfg.architecture}.{cfg.tag} has no weights in the local Hugging Face cache, "
            "and nothing is downloaded unasked.\n"
            f"Fetch them: hf download {cfg.hf_hub_id} {file}"
        )
    return Path(found)


def from_timm(name: str) -> Foreign:
    """The timm classifier of a reference `timm:NAME`, NAME with or without its tag of weights.

    Size, interpolation, mean and std are those of its `pretrained_cfg`, but for its crop. Raises
    BadValue for unknown names, FdbenchError where package or weights are absent or unfit.
    """
    timm = _timm()
    if not timm.is_model_pretrained(name):
        known = timm.list_pretrained()
        same = [one for one in known if one.partition(".")[0] == name.partition(".")[0]]
        some = same or get_close_matches(name, known, n=5)  # of two thousand
        raise unknown("timm model with weights", name, some, "timm.list_pretrained() shows all.")
    cfg = timm.get_pretrained_cfg(name)
    full = f"timm:{cfg.architecture}.{cfg.tag}" if cfg.tag else f"timm:{cfg.architecture}"
    channels, height, width = cfg.input_size
    if cfg.num_classes < 2 or channels != 3 or height != width:
        raise BadValue(
            f"{full} is no classifier of square RGB images: {cfg.num_classes} classes, "
            f"input {cfg.input_size}."
        )
    path = _cached(cfg)
    # `custom_load` is for the authors' own format of some networks; the Hub's file is not in it.
    here = {"file": str(path), "custom_load": False}
    try:
        with torch.random.fork_rng(devices=[]):
            net = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=here)
    except (SafetensorError, RuntimeError) as reason:
        raise FdbenchError(f"{path} does not hold the weights of {full}:\n{reason}") from reason
    return Foreign(full, Preprocessed(net, width, cfg.mean, cfg.std, cfg.interpolation))


# prefix of a reference: what opens the rest of it
FOREIGN: dict[str, Callable[[str], Foreign]] = {"tv": from_torchvision, "timm": from_timm}
