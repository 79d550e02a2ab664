"""What was asked for: frozen, validated, named and hashed. Free of torch.

A ModelSpec says which network, an AttackSpec which attack. The command line, the recipes and the
saved runs all speak in these, so each is parsed and refused in one place.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from fdbench.errors import BadValue, unknown
from fdbench.units import parse_size, pixels, print_size


@dataclass(frozen=True)
class Arch:
    """One member of the ResNet family: the blocks of each stage and their widths."""

    block: str  # "basic" or "bottleneck"
    blocks: tuple[int, ...]  # residual blocks in each stage
    width: int = 64  # channels of the first stage's inner convolutions
    groups: int = 1
    group_width: int | None = None  # ResNeXt's d: inner channels a group at width 64


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

# name: "module:class", imported when a network is built. "none" is the baseline.
DENOISERS: dict[str, str | None] = {
    "none": None,
    "nonlocal-gauss": "fdbench.models.denoise:NonlocalGauss",
    "nonlocal-dot": "fdbench.models.denoise:NonlocalDot",
    "bilateral-gauss": "fdbench.models.denoise:BilateralGauss",
    "bilateral-dot": "fdbench.models.denoise:BilateralDot",
    "mean": "fdbench.models.denoise:Mean",
    "median": "fdbench.models.denoise:Median",
    "null": "fdbench.models.denoise:Null",
    "bottleneck": None,  # not a denoiser: one more residual block in its place, for comparison
}
PLACES = ("stages", "all")
BLOCKS = ("full", "no-1x1", "no-residual")
PADDINGS = ("symmetric", "same-tf")
ORDERS = ("rgb", "bgr")


def pick(kind: str, given: str, allowed: Mapping[str, Any] | tuple[str, ...]) -> str:
    """`given`, if it is in the table; else the error that names the nearest."""
    if given not in allowed:
        raise unknown(kind, given, allowed)
    return given


def strict(cls: type[Any], table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`table` as arguments of the dataclass `cls`: unknown keys are refused, lists made tuples."""
    names = [field.name for field in fields(cls)]
    for key in table:
        if key not in names:
            raise unknown(f"key in {where}", key, names)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}


def sizes(table: Mapping[str, Any]) -> dict[str, Any]:
    """`table` with its textual sizes (`eps = "16/255"`) in image units."""
    norm = table.get("norm", "linf")
    return {
        key: parse_size(value, norm, key)
        if key in ("eps", "alpha") and isinstance(value, str)
        else value
        for key, value in table.items()
    }


@dataclass(frozen=True)
class ModelSpec:
    """A network: everything that must be known to build it, weights aside."""

    arch: str
    denoise: str = "none"
    denoise_at: str = "stages"  # after the last block of each stage, or after every block
    block: str = "full"  # the denoising block, or one of its ablations (paper, Table 1)
    width: int | None = None  # channels of the first stage; None: the architecture's own
    classes: int = 1000
    px: int = 224  # side of the square input; decides the stem
    padding: str = "symmetric"  # "same-tf": TensorFlow's, as the authors' released weights need
    order: str = "rgb"  # channel order the network wants; its public input is always RGB
    # 2x - 1, in [-1, 1]: the authors' scaling (released code).
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        pick("arch", self.arch, ARCHS)
        pick("denoiser", self.denoise, DENOISERS)
        pick("place for denoisers", self.denoise_at, PLACES)
        pick("denoising block", self.block, BLOCKS)
        pick("padding", self.padding, PADDINGS)
        pick("channel order", self.order, ORDERS)
        if self.width is not None and self.width < 1:
            raise BadValue(f"--width must be at least 1, got {self.width}.")
        if self.classes < 2 or self.px < 8:
            raise BadValue(f"a network needs 2 classes and 8 px, got {self.classes}, {self.px}.")
        if DENOISERS[self.denoise] is None and self.block != "full":
            raise BadValue(f"--block {self.block} is an ablation of a denoising block: --denoise?")
        if self.denoise == "none" and self.denoise_at != "stages":
            raise BadValue(f"--denoise-at {self.denoise_at} needs a --denoise to place.")

    @property
    def name(self) -> str:
        """`r152-nonlocal-gauss-all`: what the row, the checkpoint and the tables are called."""
        parts = [self.arch]
        parts += [self.denoise] if self.denoise != "none" else []
        parts += [self.denoise_at] if self.denoise_at != "stages" else []
        parts += [self.block] if self.block != "full" else []
        parts += [f"w{self.width}"] if self.width not in (None, ARCHS[self.arch].width) else []
        return "-".join(parts)

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> "ModelSpec":
        """From a recipe's or a card's table; unknown keys are an error that names `where`."""
        return cls(**strict(cls, table, where))


@dataclass(frozen=True)
class AttackSpec:
    """An attack on one network: the threat and the knobs. Sizes are in image units."""

    attack: str = "pgd"
    norm: str = "linf"
    eps: float = 8 / 255
    targeted: bool = False
    iters: tuple[int, ...] = (100,)
    alpha: float | None = None  # None: automatic, see `step`
    restarts: int = 1
    loss: str = "ce"
    random_start: bool = True

    def __post_init__(self) -> None:
        if not self.iters or min(self.iters) < 1:
            raise BadValue(f"--iters must be 1 or more, got {list(self.iters)}.")
        if len(set(self.iters)) != len(self.iters):
            raise BadValue(f"--iters names a budget twice: {list(self.iters)}.")
        if self.restarts < 1:
            raise BadValue(f"--restarts must be 1 or more, got {self.restarts}.")
        if self.restarts > 1 and not self.random_start:
            raise BadValue("--restarts from the same clean start repeat themselves.")

    def step(self, iters: int) -> float:
        """The step size of a run of `iters` iterations.

        Targeted: max(1/255, eps / iters), so PGD-10 at 16/255 steps 1.6/255 and longer runs 1/255
        (Xie et al. 2019, released code). Untargeted: eps / 4, 2/255 at the usual 8/255 (Madry et
        al. 2018, CIFAR-10). l2 has no pixel: eps / 4 in both.
        """
        if self.alpha is not None:
            return self.alpha
        if self.targeted and self.norm == "linf":
            return max(1 / 255, self.eps / iters)
        return self.eps / 4

    @property
    def name(self) -> str:
        """`pgd-10-100-t-linf-16`: readable, not unique; the run's name adds a hash."""
        size = pixels(self.eps).split("/")[0] if self.norm == "linf" else f"{self.eps:.4g}"
        budgets = "-".join(str(i) for i in sorted(self.iters))
        restarts = f"x{self.restarts}" if self.restarts > 1 else ""
        return (
            f"{self.attack}-{budgets}{restarts}-{'t' if self.targeted else 'u'}-{self.norm}-{size}"
        )

    @property
    def eps_text(self) -> str:
        """eps as tables print it."""
        return print_size(self.eps, self.norm)

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> "AttackSpec":
        """From a battery's table, where sizes are text (`eps = "16/255"`)."""
        return cls(**strict(cls, sizes(table), where))


@dataclass(frozen=True)
class TrainSpec:
    """How a network is trained. Defaults are the paper's (Xie et al. 2019, Sec. 6; released code).

    Times are fractions of the whole training, so that it can be made longer or shorter. Two
    deviations: one process trains on batches of 256, not 128 on 32 images each, so the learning
    rate follows the linear rule (0.1 per 256 images) and batch norm sees the whole batch.
    """

    data: str = "imagenet"
    epochs: int = 110
    batch_size: int = 256
    lr: float = 0.1  # per 256 images: lr * batch_size / 256 is what the optimiser gets
    momentum: float = 0.9  # Nesterov
    weight_decay: float = 1e-4  # on convolution and linear weights only
    label_smoothing: float = 0.1
    warmup: float = 5 / 110  # linear, from 0.1; skipped where the peak is not above 0.1
    drops: tuple[float, ...] = (35 / 110, 70 / 110, 95 / 110)  # learning rate divided by 10
    augment: bool = True  # random crops and flips, and colours on ImageNet
    clean: bool = False  # train on clean images instead
    attack_iters: int = 30
    eps: float = 16 / 255
    alpha: float = 1 / 255
    norm: str = "linf"
    targeted: bool = True
    clean_start: float = 0.2  # this share of the batches starts the attack at the clean image
    probe_iters: int = 10  # PGD on held-out images after each epoch
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "attack_iters", "probe_iters"):
            if getattr(self, name) < 1:
                raise BadValue(f"{name} must be 1 or more, got {getattr(self, name)}.")
        for name in ("label_smoothing", "clean_start"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadValue(f"{name} must lie in [0, 1], got {getattr(self, name)}.")
        if not self.lr > 0:
            raise BadValue(f"--lr must be greater than 0, got {self.lr}.")

    @property
    def peak_lr(self) -> float:
        """The linear rule of Goyal et al. 2017: in proportion to the batch."""
        return self.lr * self.batch_size / 256

    def lr_at(self, progress: float) -> float:
        """The learning rate after a share `progress` of all steps."""
        if progress < self.warmup and self.peak_lr > 0.1:
            return 0.1 + (self.peak_lr - 0.1) * progress / self.warmup
        return self.peak_lr * 0.1 ** sum(progress >= drop for drop in self.drops)

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> "TrainSpec":
        """From a recipe's or a card's table."""
        return cls(**strict(cls, sizes(table), where))


# What differs from the paper for small images: the CIFAR-10 setting of Madry et al. 2018 (eps
# 8/255, step 2/255, untargeted, 10 iterations where they took 7), with He et al. 2016's learning
# rate of 0.1 at a batch of 128 and the weight decay that Pang et al. 2021 found best.
SMALL: dict[str, Any] = {
    "epochs": 30,
    "batch_size": 128,
    "lr": 0.2,
    "weight_decay": 5e-4,
    "attack_iters": 10,
    "eps": 8 / 255,
    "alpha": 2 / 255,
    "targeted": False,
}
IMAGENET: dict[str, Any] = {}  # the paper's own: nothing differs


def default_eps(data: str) -> float:
    """Where neither the user nor the model's training says: contract C7."""
    return 16 / 255 if data == "imagenet" else 8 / 255


def default_targeted(classes: int) -> bool:
    """The paper's random target where there are classes enough to choose from: contract C7."""
    return classes >= 100


def digest(content: Any) -> str:
    """16 hex digits that change when the content does; `content` is plain data or a dataclass."""
    plain = content if isinstance(content, dict | list) else asdict(content)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
