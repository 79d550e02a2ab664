"""TrainSpec: the paper's training settings, and those for small images. Free of torch."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from fdbench.errors import BadValue
from fdbench.specs.parsing import parsed
from fdbench.specs.plain import pick, sizes

# How training images are made. What each needs besides the settings they share: see `_ONLY`.
MAKERS = ("pgd", "n-fgsm", "trades", "free")
_UNTARGETED = ("trades", "free")
SCHEDULES = ("steps", "one-cycle")
TRAIN_PRECISIONS = ("fp32", "bf16")
_PRECISIONS = ("precision", "attack_precision")
# A setting that acts only beside another one: (setting, the other, its values).
_ONLY = (
    ("noise", "method", ("n-fgsm",)),
    ("beta", "method", ("trades",)),
    ("clean_start", "method", ("pgd",)),
    ("attack_precision", "method", ("pgd", "n-fgsm", "trades")),
    ("drops", "schedule", ("steps",)),
)
# Added later: a card or a state that lacks them was made at their defaults.
_ADDED = {
    *("recipe", "method", "noise", "beta", "schedule", "average", "patience", "collapse"),
    *("sync_bn", "precision", "attack_precision", "extra_data", "extra_share"),
    "clean_first",
}
_AT_LEAST_1 = ("epochs", "batch_size", "attack_iters", "probe_iters")
_SHARES = (
    "label_smoothing",
    "clean_start",
    "collapse",
    "warmup",
    "average",
    "extra_share",
    "clean_first",
)
_NOT_NEGATIVE = ("noise", "beta", "patience")


@dataclass(frozen=True)
class TrainSpec:
    """How a network is trained. Defaults are the paper's (Xie et al. 2019, Sec. 6; released code).

    Times are fractions of the whole training, so that `epochs` can change alone. Two deviations:
    a step trains on a batch of 256, not 4096, so the learning rate follows the linear rule (0.1 per
    256 images); and batch norm sees a process's whole share of the batch, where the paper's 128
    processes had 32 images each.

    The batch is that of all processes together: their number is no setting.
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
    recipe: str = ""  # the file of models/training/ that the settings began with
    method: str = "pgd"  # one of MAKERS
    noise: float = 2.0  # n-fgsm: its uniform noise, in eps (de Jorge et al. 2022: k = 2)
    beta: float = 6.0  # trades: weight of its second term (Zhang et al. 2019: 1/lambda = 6)
    schedule: str = "steps"  # one-cycle: up to the peak at `warmup`, then down to zero
    average: float = 0.0  # decay of the moving average of the weights; 0: none is kept
    patience: int = 0  # epochs without a better held-out accuracy that end the training; 0: none do
    collapse: float = (
        0.0  # end when held-out PGD accuracy is below this share of the best; 0: never
    )
    sync_bn: bool = False  # batch norm over all processes, not over each one's images
    precision: str = "fp32"  # of the learning pass; weights and batch-norm statistics stay float32
    attack_precision: str = "fp32"  # of the training attack's copy; never of the probe's
    clean_first: float = 0.0  # share of the training, at its beginning, that is on clean images
    extra_data: str = ""  # npz:FILE, images that fill a share of each batch; never held out
    extra_share: float = 0.3

    def __post_init__(self) -> None:
        for name in _AT_LEAST_1:
            if getattr(self, name) < 1:
                raise BadValue(f"{name} must be 1 or more, got {getattr(self, name)}.")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise BadValue(f"{name} must lie in [0, 1], got {getattr(self, name)}.")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise BadValue(f"{name} must not be negative, got {getattr(self, name)}.")
        if not self.lr > 0:
            raise BadValue(f"--lr must be greater than 0, got {self.lr}.")
        self._check_method()

    def _check_method(self) -> None:
        pick("method", self.method, MAKERS)
        pick("schedule", self.schedule, SCHEDULES)
        for name in _PRECISIONS:
            pick(name, getattr(self, name), TRAIN_PRECISIONS)
        if self.method == "n-fgsm" and (self.attack_iters, self.norm) != (1, "linf"):
            raise BadValue(
                "method n-fgsm takes one step in linf: --attack-iters 1 --norm linf.\n"
                "--recipe fast sets all that belongs to it."
            )
        if self.method in _UNTARGETED and self.targeted:
            raise BadValue(f"method {self.method} has no targets: --untargeted.")

    @property
    def peak_lr(self) -> float:
        """The peak learning rate, in proportion to the batch size (Goyal et al. 2017)."""
        return self.lr * self.batch_size / 256

    def lr_at(self, progress: float) -> float:
        """The learning rate after a fraction `progress` of all steps."""
        if self.schedule == "one-cycle":
            return self.peak_lr * _triangle(progress, self.warmup)
        if progress < self.warmup and self.peak_lr > 0.1:
            return 0.1 + (self.peak_lr - 0.1) * progress / self.warmup
        return self.peak_lr * 0.1 ** sum(progress >= drop for drop in self.drops)

    @property
    def identity(self) -> dict[str, Any]:
        """The settings; those that were added later only where they are not at their defaults."""
        late = {one.name: one.default for one in fields(self) if one.name in _ADDED}
        return {k: v for k, v in asdict(self).items() if late.get(k, MISSING) != v}

    @classmethod
    def of(cls, table: object, where: str) -> "TrainSpec":
        """Parses a recipe's or card's table; an error about a key or its value names `where`."""
        return parsed(cls, sizes(table), where)


def _triangle(progress: float, peak: float) -> float:
    """0 at both ends and 1 at `peak`, straight between them (Wong et al. 2020: the cyclic rate)."""
    return progress / peak if progress < peak else (1 - progress) / max(1 - peak, 1e-9)


def settled(table: Mapping[str, Any], fastest: str) -> dict[str, Any]:
    """Returns the settings with `fastest` in place of a precision that is "auto"."""
    open_ones = {key for key in _PRECISIONS if table.get(key) == "auto"}
    return {**table, **dict.fromkeys(open_ones, fastest)}


def refuse_idle(spec: TrainSpec, given: set[str]) -> None:
    """Raises BadValue for a setting in `given` that another one leaves without effect."""
    if "extra_share" in given and not spec.extra_data:
        raise BadValue("--extra-share has nothing to act on: give --extra-data npz:FILE too.")
    for name, other, values in _ONLY:
        if name in given and getattr(spec, other) not in values:
            raise BadValue(
                f"--{name.replace('_', '-')} has nothing to act on: it belongs to --{other} "
                f"{' or '.join(values)}, and this training has {other} {getattr(spec, other)}."
            )


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
