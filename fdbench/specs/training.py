"""TrainSpec: the paper's training settings, and those for small images. Free of torch."""

from dataclasses import dataclass
from typing import Any

from fdbench.errors import BadValue
from fdbench.specs.parsing import parsed
from fdbench.specs.plain import sizes


@dataclass(frozen=True)
class TrainSpec:
    """How a network is trained. Defaults are the paper's (Xie et al. 2019, Sec. 6; released code).

    Times are fractions of the whole training, so that `epochs` can change alone. Two deviations:
    one process trains on batches of 256, not 128 on 32 images each, so the learning rate follows
    the linear rule (0.1 per 256 images) and batch norm sees the whole batch.
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
    augment: bool = True  # random crops and flips, and colour jitter on ImageNet
    clean: bool = False  # train on clean images instead
    attack_iters: int = 30
    eps: float = 16 / 255
    alpha: float = 1 / 255
    norm: str = "linf"
    targeted: bool = True
    clean_start: float = 0.2  # share of the batches whose attack starts at the clean image
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
        """The peak learning rate, in proportion to the batch size (Goyal et al. 2017)."""
        return self.lr * self.batch_size / 256

    def lr_at(self, progress: float) -> float:
        """The learning rate after a fraction `progress` of all steps."""
        if progress < self.warmup and self.peak_lr > 0.1:
            return 0.1 + (self.peak_lr - 0.1) * progress / self.warmup
        return self.peak_lr * 0.1 ** sum(progress >= drop for drop in self.drops)

    @classmethod
    def of(cls, table: object, where: str) -> "TrainSpec":
        """Parses a recipe's or card's table; an error about a key or its value names `where`."""
        return parsed(cls, sizes(table), where)


# Differences from the paper for small images: the CIFAR-10 setting of Madry et al. 2018 (eps
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
