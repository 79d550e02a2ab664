"""Networks of other packages and files as architectures: to train, and to put blocks into."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from fdbench.console import say
from fdbench.errors import BadValue
from fdbench.models import (
    DENOISERS,
    Model,
    Preprocessed,
    block_parameters,
    build,
    open_model,
    places,
)
from fdbench.specs import ModelSpec, split
from fdbench.store import Workspace

_PX = 224  # the image size of most networks of other packages


def fine_tuned(ref: str, shape: ModelSpec, workspace: Workspace, *, download: bool) -> "Start":
    """Returns the architecture and the weights of a reference, for a training to start from.

    `shape` has the blocks to add. Raises BadValue for networks whose architecture is not known.
    """
    model = open_model(ref, workspace, download=download)
    net, source = _inputs(model)
    spec = replace(
        shape,
        arch=source,
        mean=_values(net.mean),
        std=tuple(value / net.range for value in _values(net.std)),
        order=net.order,
        resize=net.px,
        interpolation=net.interpolation if net.px else None,
    )
    say(f"from the weights of {model.name}: {model.preprocessing or 'RGB in [0, 1] as it is'}")
    return spec, net.net.state_dict()


Start = tuple[ModelSpec, Mapping[str, Tensor]]


def _values(buffer: Tensor) -> tuple[float, ...]:
    return tuple(float(value) for value in buffer.flatten())


def _inputs(model: Model) -> tuple[Preprocessed, str]:
    """Returns the network with its preprocessing, and what makes its architecture."""
    bare, stated = split(model.ref)
    prefix, _, rest = bare.partition(":")
    if model.card or prefix in ("hf", "rb", "defense"):
        raise BadValue(
            f"--model {model.ref}: training starts from networks of tv:, timm:, FILE.py:FUNCTION, "
            "or FILE.pt with --arch or --factory. For fdbench's own: --arch r20"
        )
    made = stated.arch or stated.factory or bare
    if ":" not in made:
        raise BadValue(f"--model {model.ref} has no code that could be trained.")
    if prefix == "timm":
        made = f"timm:{rest.replace(':', '.').partition('.')[0]}"
    elif prefix == "tv":
        made = f"tv:{rest.partition(':')[0]}"
    net = model.net if isinstance(model.net, Preprocessed) else Preprocessed(model.net)
    if net.crop_from:
        raise BadValue("--crop: training takes whole images, cropped when they are read (--px).")
    return net, made


def layers(
    arch: str, px: int | None = None, denoise: str = "nonlocal-gauss"
) -> list[dict[str, Any]]:
    """Returns the modules of a network behind which denoising blocks fit.

    Args:
        arch: tv:NAME, timm:NAME, FILE.py:FUNCTION or module:function; weights are not needed.
        px: side of the images; None: 224.
        denoise: the kind of block whose parameters are counted.

    Returns:
        For each: its name, its class, the shape of its output, the parameters of a block there, and
        whether it is a stage or a block rather than a single layer.

    Raises:
        BadValue: if the network or the kind of block is unknown.
        FdbenchError: if the network fails on such images.
    """
    DENOISERS.check(denoise)
    if ":" not in arch:
        raise BadValue(f"--arch {arch!r} is not tv:NAME, timm:NAME, or FILE.py:FUNCTION.")
    net = build(ModelSpec(arch))
    return [
        {
            "layer": one.name.removeprefix("net."),
            "class": one.kind,
            "output": " x ".join(map(str, one.shape)),
            "block": block_parameters(denoise, one.shape[0]),
            "whole": one.whole,
        }
        for one in places(net, px or _PX)
        if one.name != "net"
    ]
