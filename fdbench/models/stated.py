"""What a user states of a network (specs/stated.py), put into practice."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fdbench.errors import BadValue, FdbenchError, nearest
from fdbench.models.defences.preprocessed import Preprocessed
from fdbench.models.zoo.code import parse_code
from fdbench.models.zoo.robustbench import CONSTANTS, robustbench_network
from fdbench.models.zoo.timm import timm_network
from fdbench.models.zoo.torchvision import torchvision_names, torchvision_network
from fdbench.models.zoo.weights_file import WeightsFile
from fdbench.specs import SOURCE, Stated

_CLASSES = 1000  # where a file does not show its own: ImageNet's

# By the prefix of --arch: a function of the name and of the number of classes.
ARCHITECTURES: dict[str, Callable[[str, int], nn.Module]] = {
    "tv": torchvision_network,
    "timm": timm_network,
    "rb": lambda name, classes: robustbench_network(name),
}


def architecture(name: str, classes: int) -> nn.Module:
    """Returns the network of `tv:NAME`, `timm:NAME` or `rb:...`, with weights as it draws them.

    Draws from PyTorch's generator, which is restored. Raises BadValue for another form or name.
    """
    prefix, _, rest = name.partition(":")
    if not rest or prefix not in ARCHITECTURES:
        near = nearest(name, torchvision_names(), cutoff=0.8)
        meant = f" Did you mean 'tv:{near[0]}'?" if near else ""
        raise BadValue(
            f"--arch {name!r} is not tv:NAME, timm:NAME or rb:DATA/THREAT/NAME.{meant}\n"
            "A network of your own code: --factory mynet.py:Net"
        )
    with torch.random.fork_rng(devices=[]):
        return ARCHITECTURES[prefix](rest, classes)


def made_for(weights: WeightsFile, stated: Stated) -> nn.Module:
    """Returns the network that `--arch` or `--factory` names, with the weights of a file.

    Raises FdbenchError if they do not fit.
    """
    if stated.factory:
        code = parse_code(stated.factory)
        if code is None:
            raise BadValue(f"--factory {stated.factory!r} is not FILE.py:FUNCTION or module:class.")
        with torch.random.fork_rng(devices=[]):
            net = code.network()
    else:
        net = architecture(str(stated.arch), weights.classes or _CLASSES)
    weights.fill(net, CONSTANTS if normalises(stated) else ())
    return net


def normalises(stated: Stated) -> bool:
    """Whether the network that `--arch` names normalises by itself, as RobustBench's do."""
    return bool(stated.arch and stated.arch.startswith("rb:"))


def refuse_unknown_inputs(net: nn.Module, stated: Stated, what: str) -> None:
    """Raises FdbenchError if nothing says how the network's images are normalised."""
    known = isinstance(net, Preprocessed) or normalises(stated)
    if not known and (stated.mean is None or stated.std is None):
        raise FdbenchError(
            f"{what} does not say how its images were normalised, and a wrong guess would look "
            "like a weak network.\n"
            "Give its normalisation: --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 is "
            "ImageNet's,\n--mean 0 --std 1 is none: RGB in [0, 1]."
        )


def restated(net: nn.Module, stated: Stated) -> Preprocessed:
    """Returns the network with what is stated in place of what it says of itself."""
    own: dict[str, Any] = {}
    if isinstance(net, Preprocessed):
        own = {
            "px": net.px, "mean": _values(net.mean), "std": _values(net.std),
            "interpolation": net.interpolation, "antialias": net.antialias,
            "order": net.order, "range": net.range, "crop_from": net.crop_from,
            "source_crop": net.source_crop,
        }  # fmt: skip
        net = net.net
    given = {name: getattr(stated, name) for name in ("px", "mean", "std", "order", "range")}
    given["crop_from"] = _crop_from(stated, own)
    return Preprocessed(net, **{**own, **{k: v for k, v in given.items() if v is not None}})


def _crop_from(stated: Stated, own: dict[str, Any]) -> int | None:
    """The shortest edge before the crop. Raises BadValue if it does not fit, or is not known."""
    px = stated.px or own.get("px")
    if stated.crop == SOURCE:
        if own.get("source_crop") is None:
            raise BadValue("--crop source: the network's source states no crop. Give its size: 256")
        return int(own["source_crop"])
    if isinstance(stated.crop, int) and (px is None or stated.crop < px):
        raise BadValue(
            f"--crop {stated.crop} is the side that images are resized to before the central "
            f"--net-px are taken: {'give that too' if px is None else f'that is {px} here'}."
        )
    return stated.crop if isinstance(stated.crop, int) else None


def _values(buffer: Tensor) -> list[float]:
    return [float(value) for value in buffer.flatten()]
