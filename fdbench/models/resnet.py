"""Builds ResNets, with or without denoising blocks, from a ModelSpec.

Input: RGB images in [0, 1]; channel order and scaling are the network's own first layer.
Every convolution is named `conv`, has no bias, and is followed by its sibling `bn`.

Sources: He et al. 2016 (ResNet), Xie et al. 2017 (ResNeXt), Goyal et al. 2017, Sec. 5.1 (stride on
the 3x3 convolution, initialisation), Xie et al. 2019 and its released code (denoising).
"""

import hashlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fdbench.errors import BadValue, FdbenchError
from fdbench.models.catalogue import DENOISERS
from fdbench.models.denoise import DESIGNS, DenoiseBlock, Embedding, Features
from fdbench.specs import ARCHS, BOTTLENECK, NO_DENOISER, Arch, ModelSpec

# Up to this size a network keeps the resolution of its input in the first stage (He et al. 2016,
# Sec. 4.2, for 32 px; 64 px is Tiny-ImageNet). Above it, the stem of ImageNet halves it twice.
SMALL_PX = 64
# oneDNN's AVX2 kernel for the weights' gradient of a strided 1x1 convolution takes eight channels
# at a time; with fewer inputs, channels last, it writes beyond its buffer ("double free or
# corruption"). Measured with torch 2.13 and 2.14.1 (oneDNN 3.12): 1 to 7 inputs at strides 2, 3, 4,
# whatever the outputs. Safe are 8 inputs or more, other kernel sizes, padding, groups, contiguous
# inputs, the gradient of the inputs (all that an attack computes), AVX-512 and SSE 4.1.
VECTOR = 8
GROUP_BASE = 64  # the width for which a ResNeXt's group width is stated (Xie et al. 2017)

Pixels = Float[Tensor, "B 3 H W"]  # RGB in [0, 1]; float64 in a gradient check
Strided = Float[Tensor, "B D P Q"]  # other channels, another size


def same_tf(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Returns TensorFlow's SAME padding of one axis: (before, after), the odd pixel after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SamePad(nn.Module):
    """Pads height and width as TensorFlow's SAME does for the strided layer that follows."""

    def __init__(self, kernel: int, stride: int, value: float = 0.0) -> None:
        super().__init__()
        self.kernel, self.stride, self.value = kernel, stride, value

    def forward(self, x: Features) -> Strided:
        height, width = (same_tf(size, self.kernel, self.stride) for size in x.shape[2:])
        return F.pad(x, (*width, *height), value=self.value)


class Subsample(nn.Module):
    """Takes every `stride`-th position, all that a strided 1x1 convolution reads."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Features) -> Strided:
        return x[..., :: self.stride, :: self.stride]


class ConvBN(nn.Module):
    """A convolution that keeps the size (up to its stride), and its batch norm.

    `same` selects TensorFlow's asymmetric padding, which differs from symmetric padding only with a
    stride. Strided 1x1 convolutions of fewer than VECTOR inputs subsample beforehand instead.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        same: bool,
    ) -> None:
        super().__init__()
        asymmetric = same and stride > 1
        self.before: nn.Module = SamePad(kernel, stride) if asymmetric else nn.Identity()
        if kernel == 1 < stride and inputs < VECTOR:
            self.before, stride = Subsample(stride), 1
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            padding=0 if asymmetric else kernel // 2,
            groups=groups,
            bias=False,
        )
        self.bn = nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.1)  # released code: 1e-5, 0.9

    def forward(self, x: Features) -> Strided:
        return self.bn(self.conv(self.before(x)))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Returns the identity, or a 1x1 projection (no padding) where the shape changes."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return ConvBN(inputs, outputs, 1, stride, same=False)


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, Fig. 5, left)."""

    expansion = 1  # output channels over `width`

    def __init__(self, inputs: int, width: int, stride: int, arch: Arch, same: bool) -> None:
        super().__init__()
        self.conv1 = ConvBN(inputs, width, 3, stride, groups=arch.groups, same=same)
        self.conv2 = ConvBN(width, width, 3, groups=arch.groups, same=same)
        self.shortcut = _shortcut(inputs, width, stride)

    def forward(self, x: Features) -> Strided:
        y = F.relu(self.conv1(x), inplace=True)
        y = self.conv2(y)
        return F.relu(y + self.shortcut(x), inplace=True)

    def silence(self) -> None:
        """Sets the last gamma = 0: starts as its shortcut (Goyal et al. 2017, Sec. 5.1)."""
        nn.init.zeros_(self.conv2.bn.weight)


class Bottleneck(nn.Module):
    """1x1, 3x3 (grouped in a ResNeXt), 1x1 and a shortcut; the 3x3 carries the stride."""

    expansion = 4  # He et al. 2016, Fig. 5

    def __init__(self, inputs: int, width: int, stride: int, arch: Arch, same: bool) -> None:
        super().__init__()
        inner, outputs = _inner_channels(width, arch), width * self.expansion
        self.conv1 = ConvBN(inputs, inner, 1, same=same)
        self.conv2 = ConvBN(inner, inner, 3, stride, groups=arch.groups, same=same)
        self.conv3 = ConvBN(inner, outputs, 1, same=same)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Features) -> Strided:
        y = F.relu(self.conv1(x), inplace=True)
        y = F.relu(self.conv2(y), inplace=True)
        y = self.conv3(y)
        return F.relu(y + self.shortcut(x), inplace=True)

    def silence(self) -> None:
        """Sets the last gamma = 0: starts as its shortcut (Goyal et al. 2017, Sec. 5.1)."""
        nn.init.zeros_(self.conv3.bn.weight)


def _inner_channels(width: int, arch: Arch) -> int:
    if arch.group_width is None:
        return width
    per_group = width * arch.group_width / GROUP_BASE
    if not per_group.is_integer():
        step = GROUP_BASE // arch.group_width
        raise BadValue(
            f"--width {width} gives each group of a ResNeXt {per_group:g} channels.\n"
            f"Use a multiple of {step}, such as --width {max(1, round(width / step)) * step}."
        )
    return int(per_group) * arch.groups


RESIDUALS: dict[str, type[Basic] | type[Bottleneck]] = {"basic": Basic, "bottleneck": Bottleneck}


class Normalise(nn.Module):
    """(x - mean) / std in the network's channel order: its first layer."""

    mean: Tensor  # (1, 3, 1, 1)
    std: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        for name in ("mean", "std"):  # not in the checkpoint: they come from the spec
            self.register_buffer(name, torch.empty(1, 3, 1, 1), persistent=False)

    def forward(self, x: Pixels) -> Pixels:
        x = x.flip(1) if self.spec.order == "bgr" else x
        return (x - self.mean) / self.std

    def reset_parameters(self) -> None:
        """Fills the buffers from the spec."""
        for buffer, values in ((self.mean, self.spec.mean), (self.std, self.spec.std)):
            buffer.copy_(torch.tensor(values, device="cpu").view(1, 3, 1, 1))


def _stem(width: int, px: int, same: bool) -> nn.Module:
    if px <= SMALL_PX:
        return nn.Sequential(ConvBN(3, width, 3, same=same), nn.ReLU(inplace=True))
    pool = nn.MaxPool2d(3, 2, padding=0 if same else 1)
    return nn.Sequential(
        ConvBN(3, width, 7, 2, same=same),
        nn.ReLU(inplace=True),
        nn.Sequential(SamePad(3, 2, value=-torch.inf), pool) if same else pool,
    )


def _denoiser(spec: ModelSpec) -> Callable[[int], nn.Module] | None:
    """Returns a builder of denoising blocks by number of channels; None if there are none."""
    if spec.denoise in (NO_DENOISER, BOTTLENECK):
        return None
    operation = DENOISERS[spec.denoise]
    return lambda channels: DenoiseBlock(channels, operation(channels), DESIGNS[spec.block])


def _depths(spec: ModelSpec) -> tuple[int, ...]:
    """Returns the number of residual blocks per stage.

    "bottleneck" adds one for each denoising block it replaces, so r152 with it is r164 (Xie et al.
    2019, "+4 bottleneck").
    """
    depths = ARCHS[spec.arch].blocks
    if spec.denoise != BOTTLENECK:
        return depths
    return tuple(2 * d if spec.denoise_at == "all" else d + 1 for d in depths)


def _stages(spec: ModelSpec, width: int) -> tuple[nn.Sequential, int]:
    """Returns the stages and their output channels. `denoise<i>`, if any, follows `block<i>`."""
    arch, denoiser = ARCHS[spec.arch], _denoiser(spec)
    channels, stages = width, nn.Sequential()
    for number, depth in enumerate(_depths(spec)):
        stage = nn.Sequential()
        for i in range(depth):
            stride = 2 if number > 0 and i == 0 else 1
            same = spec.padding == "same-tf"
            block = RESIDUALS[arch.block]
            stage.add_module(f"block{i}", block(channels, width * 2**number, stride, arch, same))
            channels = width * 2**number * block.expansion
            if denoiser and (spec.denoise_at == "all" or i == depth - 1):
                stage.add_module(f"denoise{i}", denoiser(channels))
        stages.append(stage)
    return stages, channels


class ResNet(nn.Module):
    """RGB images (B, 3, H, W) in [0, 1] -> logits (B, spec.classes).

    Images are scaled in their own dtype, then cast to the weights': a bf16 copy of the network
    reads the same float32 images. H and W need not be `spec.px`, which only selects the stem.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        width = spec.width or ARCHS[spec.arch].width
        self.normalise = Normalise(spec)
        self.stem = _stem(width, spec.px, same=spec.padding == "same-tf")
        self.stages, channels = _stages(spec, width)
        self.fc = nn.Linear(channels, spec.classes)

    def forward(self, x: Pixels) -> Float[Tensor, "B K"]:
        x = self.normalise(x).to(self.fc.weight.dtype)
        x = self.stem(x)  # (B, width, H/4, W/4), or (B, width, H, W) for small images
        x = self.stages(x)  # each stage but the first: twice the channels, half the size
        x = x.mean((2, 3))  # (B, channels)
        return self.fc(x)


def _he(conv: nn.Conv2d, rng: torch.Generator) -> None:
    # Variance 2 / fan_out, fan_out = k * k * outputs even in groups, as TensorFlow counts it.
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu", generator=rng)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _small(embedding: Embedding, rng: torch.Generator) -> None:
    nn.init.normal_(embedding.weight, std=0.01, generator=rng)  # released code


def _linear(fc: nn.Linear, rng: torch.Generator) -> None:
    nn.init.normal_(fc.weight, std=0.01, generator=rng)  # Goyal et al. 2017, Sec. 5.1
    nn.init.zeros_(fc.bias)


def _reset(module: nn.BatchNorm2d | Normalise, rng: torch.Generator) -> None:
    module.reset_parameters()  # constants: nothing is drawn


INITIAL: dict[type[nn.Module], Callable[..., None]] = {
    nn.Conv2d: _he,
    Embedding: _small,
    nn.Linear: _linear,
    nn.BatchNorm2d: _reset,
    Normalise: _reset,
}


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/init/{name}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little"))


@torch.no_grad()
def initialise(net: nn.Module, seed: int, within: str = "") -> None:
    """Initialises all weights and statistics of a network of this module, in place.

    Each layer's weights depend only on (seed, `within` and its name): networks that differ by a
    denoising block start from the same weights elsewhere and, as that block starts as the identity,
    from the same function. No global generator is read or changed.

    Source: Xie et al. 2019, released code; Goyal et al. 2017, Sec. 5.1.
    """
    for name, module in net.named_modules():
        if type(module) in INITIAL:
            INITIAL[type(module)](module, _generator(seed, within + name))
    for module in net.modules():
        if isinstance(module, Basic | Bottleneck | DenoiseBlock):
            module.silence()


def _check_layers(net: nn.Module) -> None:
    """Raises FdbenchError for a tensor that `initialise` leaves as whatever was in memory."""
    for name, module in net.named_modules():
        tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        if tensors and type(module) not in INITIAL:
            kinds = ", ".join(kind.__name__ for kind in INITIAL if kind is not Normalise)
            raise FdbenchError(
                f"{name} ({type(module).__name__}) has a tensor {tensors[0][0]!r}, set by no "
                f"checkpoint or initialisation.\nBuild it of {kinds}, or compute it in forward."
            )


def build(spec: ModelSpec, seed: int = 0, device: torch.device | str | None = None) -> ResNet:
    """Returns the network of `spec`, initialised from `seed`, in training mode.

    `device` None is torch's default; on "meta" only shapes exist. The same seed gives the same
    weights on all devices. Raises BadValue for an unknown denoiser, and for a width not divisible
    into its groups; FdbenchError for a denoiser with tensors of its own.
    """
    device = torch.device(device) if device is not None else torch.get_default_device()
    with torch.device("meta"):  # so that nothing is allocated, drawn or filled twice
        net = ResNet(spec)
    _check_layers(net)
    if device.type == "meta":
        return net
    net.to_empty(device="cpu")
    initialise(net, seed)
    return net.to(device)
