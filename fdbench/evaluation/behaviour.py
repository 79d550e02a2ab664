"""The behaviour fingerprint of a run: what its network answers on a few images.

The hash of a network's parameters does not cover its code: normalisation, resizing, the order of
channels. So a run keeps the logits of a few fixed images and of its own first images, and pixels of
the latter, and they are computed again whenever it is resumed or verified.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from fdbench import randomness
from fdbench.data import Dataset
from fdbench.errors import SanityFailed
from fdbench.files import write_once
from fdbench.machine import UNTRIED, generators_kept
from fdbench.store import pack, read_tensors
from fdbench.types import Images
from fdbench.verdict import relative_difference

_FIXED, _FIRST = 4, 4  # images; a change of code shows on any image
_PIXELS = 256  # values of each of the run's images that are kept

# Largest difference of logits (verdict.relative_difference). Two float32 computations of one
# network, in other batches or on other hardware, differ by under a tenth of it (models.RELATIVE is
# that tenth, and every run's folded copy is held to it); a change that stays below it could only
# turn verdicts at a near tie.
LIMIT = 1e-3
# Largest difference of pixels: JPEG decoders and resampling filters of different builds may round a
# grey level differently, and resampling may add up two such.
PIXEL_LIMIT = 2.5 / 255


@dataclass(frozen=True)
class Behaviour:
    """Logits of fixed images and of a run's first images, and some of the latter's pixels."""

    fixed: Float32[Tensor, "K C"]
    first: Float32[Tensor, "F C"]
    pixels: Float32[Tensor, "F P"]


def _fixed_images(px: int) -> Images:
    """Noise of whole pixels, which a competition's defence takes too."""
    unit = randomness.uniform(0, "behaviour", range(_FIXED), (3, px, px))
    return (255 * torch.from_numpy(unit)).round() / 255


def _pixels_of(x: Images) -> Float32[Tensor, "F P"]:
    """_PIXELS values of each image, always at the same places."""
    flat = x.flatten(1).cpu()
    places = randomness.permutation(0, "behaviour-pixels", flat.shape[1])[:_PIXELS]
    return flat[:, torch.from_numpy(places)]


@torch.no_grad()
def observe(
    net: nn.Module, data: Dataset, count: int, device: torch.device, seed: int = 0
) -> Behaviour:
    """Returns the behaviour of `net` on fixed images and on the first of `count` images.

    `seed` is PyTorch's, for networks that draw random numbers; its generators are restored.
    """
    batch = data.fetch(range(min(_FIRST, count)))
    x = torch.cat([_fixed_images(data.px), batch.x]).to(device)
    with generators_kept(device, seed=seed):
        logits = net(x).float().cpu()
    return Behaviour(logits[:_FIXED], logits[_FIXED:], _pixels_of(batch.x))


def check_device(net: nn.Module, data: Dataset, count: int, device: torch.device) -> None:
    """Compares the logits of an untried device with the CPU's; leaves `net` there.

    Raises SanityFailed if they differ by more than rounding, for a network that draws no random
    numbers.
    """
    if device.type not in UNTRIED:
        return
    cpu = torch.device("cpu")
    here, again = (observe(net.cpu(), data, count, cpu, seed) for seed in (0, 1))
    there = observe(net.to(device), data, count, device)
    off = max(
        relative_difference(there.fixed, here.fixed), relative_difference(there.first, here.first)
    )
    if off > LIMIT and not difference(again, here):
        raise SanityFailed(
            f"on {device.type} the logits differ from the CPU's by {off:.2g} of their size (limit "
            f"{LIMIT:g}).\nPyTorch computes something else there. Give --device cpu."
        )


def _off(now: Tensor, then: Tensor) -> float:
    """The largest difference; infinite for other shapes, and where only one is not finite."""
    if now.shape != then.shape:
        return float("inf")
    if len(then) == 0:
        return 0.0
    differences = torch.where(now == then, 0.0, (now - then).abs())
    return float(differences.nan_to_num(nan=float("inf")).max())


def difference(now: Behaviour, then: Behaviour) -> str:
    """What differs by more than rounding, in words; empty if nothing does.

    A run that was extended is compared on the first images that it began with.
    """
    count = len(then.pixels)
    moved = _off(now.pixels[:count], then.pixels)
    if moved > PIXEL_LIMIT:
        return (
            f"the images are not those this run began with: pixels differ by up to {moved:.3g} "
            f"(limit {PIXEL_LIMIT:.2g}), although names and sizes are the same. Their decoding, "
            "resizing or content changed."
        )
    pairs = {
        "fixed images": (now.fixed, then.fixed),
        "the run's first images": (now.first[:count], then.first),
    }
    for images, (one, other) in pairs.items():
        off = relative_difference(one, other)
        if off > LIMIT:
            return (
                f"the network answers differently than when this run began: on {images} its logits "
                f"differ by {off:.2g} of their size (limit {LIMIT:g}). Its parameters are the "
                "same, so its code changed: normalisation, resizing, order of channels."
            )
    return ""


def changed(
    net: nn.Module, data: Dataset, count: int, device: torch.device, then: Behaviour
) -> tuple[str, bool]:
    """What differs from an earlier behaviour, in words, and whether that may be chance.

    Empty if nothing differs. It may be chance if the network draws random numbers: their order can
    depend on the hardware, or on a generator that is not PyTorch's.
    """
    now = observe(net, data, count, device)
    why = difference(now, then)
    if not why:
        return "", False
    return why, bool(difference(observe(net, data, count, device, seed=1), now))


def kept(path: Path) -> Behaviour | None:
    """The behaviour stored in a file; None if there is none, as in runs of earlier versions.

    Raises FdbenchError if the file is malformed.
    """
    if not path.is_file():
        return None
    tensors, _ = read_tensors(path)
    return Behaviour(**tensors)


def seal(path: Path) -> str:
    """32 hex digits that change with any byte of the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def keep(path: Path, behaviour: Behaviour) -> None:
    """Stores the behaviour, unless another process of the run already did."""
    tensors = {"fixed": behaviour.fixed, "first": behaviour.first, "pixels": behaviour.pixels}
    write_once(path, pack(tensors, {}))
