"""Denoising blocks behind named modules of any convolutional network.

The paper's block (Xie et al. 2019, Fig. 4) starts as the identity, since its batch norm's gamma is
zero: a trained network with new blocks computes what it computed, and can be fine-tuned from there.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.models.catalogue import DENOISERS
from fdbench.models.defences.preprocessed import Preprocessed
from fdbench.models.denoise import DESIGNS, DenoiseBlock
from fdbench.models.resnet import initialise
from fdbench.models.stated import ARCHITECTURES, architecture
from fdbench.models.zoo.code import parse_code
from fdbench.models.zoo.users_code import users_code
from fdbench.specs import NO_DENOISER, ModelSpec

# What a network of 1000 classes and one of 10 may differ in: the last layer's two tensors.
_HEAD = 2


@dataclass(frozen=True)
class Place:
    """A module whose output is a map of features, so that a block fits behind it."""

    name: str
    kind: str
    shape: tuple[int, ...]  # (C, H, W)
    whole: bool  # it has modules of its own: a stage or a block, not a single layer


class Grafted(nn.Module):
    """A module, and the block that its output goes through."""

    def __init__(self, body: nn.Module, denoise: DenoiseBlock) -> None:
        super().__init__()
        self.body, self.denoise = body, denoise

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.denoise(self.body(*args, **kwargs))


class _Outputs:
    """Records what each module returns in one forward pass."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.shapes: dict[str, tuple[int, ...]] = {}

    def note(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        self.calls[name] += 1
        if isinstance(output, Tensor) and output.ndim == 4 and output.is_floating_point():
            self.shapes[name] = tuple(output.shape[1:])


@torch.no_grad()
def places(net: nn.Module, px: int) -> list[Place]:
    """Returns the modules behind which a block fits, on images of px x px, in the order of use.

    Those that the network calls once, for a map of features of more than one position. Raises
    FdbenchError if the network fails on such images.
    """
    seen, handles = _Outputs(), []
    modules = dict(net.named_modules())
    for name, module in modules.items():
        hook: Callable[..., None] = partial(seen.note, name)
        handles.append(module.register_forward_hook(hook))
    training = net.training
    try:
        with users_code(f"{type(net).__name__} on images {px}x{px}"):
            net.eval()(torch.full((1, 3, px, px), 0.5))
    finally:
        net.train(training)
        for handle in handles:
            handle.remove()
    return [
        Place(name, type(modules[name]).__name__, shape, any(modules[name].children()))
        for name, shape in seen.shapes.items()
        if name and seen.calls[name] == 1 and shape[1] * shape[2] > 1
    ]


def block_parameters(kind: str, channels: int, design: str = "full") -> int:
    """Returns the number of parameters of a block on so many channels."""
    block = DenoiseBlock(channels, DENOISERS[kind](channels), DESIGNS[design])
    return sum(parameter.numel() for parameter in block.parameters())


def graft(net: nn.Module, spec: ModelSpec, px: int, seed: int = 0) -> None:
    """Puts the blocks of `spec` behind the modules that it names, in place.

    Each block's weights depend on (seed, its place) alone. Raises BadValue for a module that does
    not exist or has no map of features, FdbenchError if the network can't do with a wrapped one.
    """
    known = {one.name: one for one in places(net, px)}
    for name in spec.layers:
        if name not in known:
            raise unknown(
                f"place for a block in {spec.arch}", name,
                [one.name for one in known.values() if one.whole] or list(known),
                f"fdbench list layers --arch {spec.arch} --px {px} shows all.",
            )  # fmt: skip
    for name in sorted(spec.layers, key=lambda name: -name.count(".")):  # inner ones first
        channels = known[name].shape[0]
        operation = DENOISERS[spec.denoise](channels)
        block = DenoiseBlock(channels, operation, DESIGNS[spec.block])
        initialise(block, seed, f"{name}.denoise.")
        net.set_submodule(name, Grafted(net.get_submodule(name), block))
    used = {one.name for one in places(net, px)}
    if not {f"{name}.denoise" for name in _moved(spec.layers)} <= used:  # it went around a block
        raise FdbenchError(f"{spec.arch} does not run with blocks behind {spec.denoise_at}.")


def _moved(layers: Sequence[str]) -> list[str]:
    """The modules' names once those around them are wrapped: `layer1.0` is `layer1.body.0`."""
    moved = []
    for name in layers:
        now = name
        for other in sorted(layers, key=len, reverse=True):
            if name.startswith(f"{other}."):
                now = f"{other}.body{now[len(other) :]}"
        moved.append(now)
    return moved


def _bare(spec: ModelSpec, seed: int) -> nn.Module:
    """Returns the network without blocks, with weights as its own code draws or loads them."""
    if spec.arch.partition(":")[0] in ARCHITECTURES:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return architecture(spec.arch, spec.classes)
    code = parse_code(spec.arch)
    if code is None:
        raise BadValue(f"--arch {spec.arch!r} is not tv:NAME, timm:NAME, or FILE.py:FUNCTION.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = code.network()
    return net.net if isinstance(net, Preprocessed) else net


def start_from(net: nn.Module, tensors: Mapping[str, Tensor], what: str) -> Sequence[str]:
    """Copies a trained network's tensors; returns the names that stay as drawn: of a new head.

    Raises FdbenchError if more than the last layer differs.
    """
    wanted = net.state_dict()
    fits = {k: v for k, v in tensors.items() if k in wanted and wanted[k].shape == v.shape}
    left = [name for name in wanted if name not in fits]
    extra = [name for name in tensors if name not in wanted]
    tail = [name for name, parameter in net.named_parameters()][-_HEAD:]
    if extra or not set(left) <= set(tail):
        raise FdbenchError(f"{what} differs from its own architecture: {(left + extra)[:4]}.")
    net.load_state_dict({**wanted, **fits})
    return left


def build_foreign(
    spec: ModelSpec, seed: int = 0, start: Mapping[str, Tensor] | None = None
) -> Preprocessed:
    """Returns a network of another package or file, with the blocks of `spec`, in training mode.

    `start` holds a trained network's tensors; None: weights as drawn from `seed`.
    """
    net = _bare(spec, seed)
    if start is not None:
        start_from(net, start, spec.arch)
    if spec.denoise != NO_DENOISER:
        graft(net, spec, spec.resize or spec.px, seed)
    kind = spec.interpolation or "bicubic"
    return Preprocessed(
        net.requires_grad_(True), spec.resize, spec.mean, spec.std, kind, order=spec.order
    ).train()
