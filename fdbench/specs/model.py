"""ModelSpec: the ResNet family and its denoising blocks, as frozen, validated data."""

import re
from dataclasses import dataclass

from fdbench.errors import BadValue
from fdbench.specs.parsing import parsed
from fdbench.specs.plain import pick


@dataclass(frozen=True)
class Arch:
    """One member of the ResNet family: the blocks of each stage and their widths."""

    block: str  # "basic" or "bottleneck"
    blocks: tuple[int, ...]  # residual blocks in each stage
    width: int = 64  # channels of the first stage's inner convolutions
    groups: int = 1
    group_width: int | None = None  # ResNeXt's d: inner channels per group at width 64


ARCHS: dict[str, Arch] = {
    "r20": Arch("basic", (3, 3, 3), width=16),  # He et al. 2016, Sec. 4.2, the CIFAR-10 networks
    "r18": Arch("basic", (2, 2, 2, 2)),  # He et al. 2016, Table 1
    "r26": Arch("bottleneck", (2, 2, 2, 2)),  # r18's depths in bottlenecks
    "r50": Arch("bottleneck", (3, 4, 6, 3)),
    "r101": Arch("bottleneck", (3, 4, 23, 3)),
    "r152": Arch("bottleneck", (3, 8, 36, 3)),
    "r164": Arch("bottleneck", (4, 9, 37, 4)),  # r152 + 1 a stage: Xie et al. 2019, "+4 bottleneck"
    "x50": Arch("bottleneck", (3, 4, 6, 3), groups=32, group_width=8),
    "x101": Arch("bottleneck", (3, 4, 23, 3), groups=32, group_width=8),  # ResNeXt-101 32x8d
}


# Values of --denoise besides the names in fdbench.models.DENOISERS.
NO_DENOISER = "none"  # the baseline
BOTTLENECK = "bottleneck"  # an extra residual block in place of the denoiser, for comparison
PLACES = ("stages", "all")


BLOCKS = ("full", "no-1x1", "no-residual")


PADDINGS = ("symmetric", "same-tf")


ORDERS = ("rgb", "bgr")


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build a network, except its weights.

    Of this project's family, or of another package or file: then `arch` is `tv:NAME`, `timm:NAME`
    or `FILE.py:FUNCTION`, and `denoise_at` names modules of it, with commas.
    """

    arch: str
    denoise: str = NO_DENOISER
    denoise_at: str = "stages"  # after the last block of each stage, or after every block
    block: str = "full"  # the denoising block, or one of its ablations (paper, Table 1)
    width: int | None = None  # channels of the first stage; None: the architecture's default
    classes: int = 1000
    px: int = 224  # side of the square input; decides the stem
    padding: str = "symmetric"  # "same-tf": TensorFlow's, as the authors' released weights need
    order: str = "rgb"  # channel order the network expects; callers always pass RGB
    # 2x - 1, in [-1, 1]: the authors' scaling (released code).
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    # Of another package's network: the side to which it resizes its images, and how; None: it
    # takes them as they are.
    resize: int | None = None
    interpolation: str | None = None

    def __post_init__(self) -> None:
        if self.foreign:
            self._check_foreign()
        else:
            pick("arch", self.arch, ARCHS)
            pick("place for denoisers", self.denoise_at, PLACES)
        pick("denoising block", self.block, BLOCKS)
        pick("padding", self.padding, PADDINGS)
        pick("channel order", self.order, ORDERS)
        if self.width is not None and self.width < 1:
            raise BadValue(f"--width must be at least 1, got {self.width}.")
        if self.classes < 2 or self.px < 8:
            raise BadValue(
                f"a network needs at least 2 classes and 8 px, got {self.classes} classes and "
                f"{self.px} px."
            )
        if self.denoise in (NO_DENOISER, BOTTLENECK) and self.block != "full":
            raise BadValue(f"--block {self.block} changes a denoising block: add --denoise.")
        if self.denoise == NO_DENOISER and self.denoise_at != "stages":
            raise BadValue(f"--denoise-at {self.denoise_at} needs a --denoise.")

    @property
    def foreign(self) -> bool:
        """Whether the network is another package's or file's."""
        return ":" in self.arch

    @property
    def layers(self) -> tuple[str, ...]:
        """The modules of another package's network that blocks follow."""
        return tuple(self.denoise_at.split(",")) if self.denoise != NO_DENOISER else ()

    def _check_foreign(self) -> None:
        if self.denoise == BOTTLENECK:
            raise BadValue(f"--denoise {BOTTLENECK} is for fdbench's own networks.")
        if self.width is not None:
            raise BadValue(f"--width is for fdbench's own networks: {self.arch} has its own.")
        if self.denoise != NO_DENOISER and self.denoise_at in PLACES:
            raise BadValue(
                f"where in {self.arch}? Name modules: --denoise-at layer1,layer2\n"
                f"They are listed by: fdbench list layers --arch {self.arch}"
            )
        if len(set(self.layers)) < len(self.layers):
            raise BadValue(f"--denoise-at {self.denoise_at} names a module twice.")

    @property
    def name(self) -> str:
        """`r152-nonlocal-gauss-all`: names the row, the checkpoint and the tables' lines."""
        if self.foreign:
            parts = [self.arch.rpartition("/")[2], self.denoise, self.denoise_at, self.block]
            shown = parts[: 3 if self.denoise != NO_DENOISER else 1]
            shown += parts[3:] if self.block != "full" else []
            return re.sub(r"[^\w.+-]+", "-", "-".join(shown).replace(",", "+"))
        parts = [self.arch]
        parts += [self.denoise] if self.denoise != NO_DENOISER else []
        parts += [self.denoise_at] if self.denoise_at != "stages" else []
        parts += [self.block] if self.block != "full" else []
        parts += [f"w{self.width}"] if self.width not in (None, ARCHS[self.arch].width) else []
        return "-".join(parts)

    @classmethod
    def of(cls, table: object, where: str) -> "ModelSpec":
        """Parses a recipe's or card's table; an error about a key or its value names `where`."""
        return parsed(cls, table, where)
