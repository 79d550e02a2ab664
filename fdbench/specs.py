"""What was asked for: frozen, validated, named and hashed. Free of torch.

A ModelSpec says which network, an AttackSpec which attack. The command line, the recipes and the
saved runs all speak in these, so each is parsed and refused in one place.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
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


# PGD's own knobs, and what each is where nobody has touched it: other attacks refuse them.
_PGD_ONLY: dict[str, Any] = {
    "alpha": None,
    "restarts": 1,
    "loss": "ce",
    "random_start": True,
    "targets": "random",
    "stop_early": False,
    "eot": 1,
}
# Fields younger than the first runs: left out of a run's identity while they say nothing, so that
# a run keeps its name.
_YOUNGER: dict[str, Any] = {"targets": "random", "stop_early": False, "eot": 1, "options": {}}
SAVE = ("float", "png")  # how adversarial images are kept: exactly; as whole pixels besides
TARGETS = ("random", "least-likely", "file")


@dataclass(frozen=True)
class AttackSpec:
    """An attack on one network: the threat and the knobs. Sizes are in image units.

    The knobs from `iters` on are PGD's; any other attack has its own in `options`.
    """

    attack: str = "pgd"
    norm: str = "linf"
    eps: float = 8 / 255
    targeted: bool = False
    iters: tuple[int, ...] = (100,)
    alpha: float | None = None  # None: automatic, see `step`
    restarts: int = 1
    loss: str = "ce"
    random_start: bool = True
    targets: str = "random"  # of a targeted attack: one of TARGETS
    stop_early: bool = False  # images leave at their first wrong iterate: no last iterate to read
    eot: int = 1  # forward passes whose gradients are averaged, for networks that draw numbers
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.attack != "pgd":
            self._refuse_knobs()
            return
        if self.options:
            raise BadValue(f"pgd takes no options, got {dict(self.options)}.")
        if not self.iters or min(self.iters) < 1:
            raise BadValue(f"--iters must be 1 or more, got {list(self.iters)}.")
        if len(set(self.iters)) != len(self.iters):
            raise BadValue(f"--iters names a budget twice: {list(self.iters)}.")
        for name in ("restarts", "eot"):
            if getattr(self, name) < 1:
                raise BadValue(f"--{name} must be 1 or more, got {getattr(self, name)}.")
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        pick("kind of targets", self.targets, TARGETS)
        if self.restarts > 1 and not self.random_start:
            raise BadValue("--restarts from the same clean start repeat themselves.")
        if self.targets != "random" and not self.targeted:
            raise BadValue(f"--targets {self.targets} needs --targeted.")
        if self.stop_early and self.targeted:
            raise BadValue("--stop-early needs --untargeted: a wrong image is not yet a hit.")

    def _refuse_knobs(self) -> None:
        if self.iters:
            raise BadValue(f"{self.attack} has no iters: they are PGD's.")
        for name, untouched in _PGD_ONLY.items():
            if getattr(self, name) != untouched:
                raise BadValue(f"{self.attack} has no {name}: it is PGD's.")

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
        kind = "t" if self.targeted else "u"
        return "-".join([self.attack, *self._variant, kind, self.norm, size])

    @property
    def title(self) -> str:
        """`pgd 10, 100`: the attack as messages name it."""
        if self.attack == "pgd":
            return f"PGD {', '.join(str(i) for i in self.iters)}"
        return " ".join([self.attack, *self._variant])

    @property
    def _variant(self) -> list[str]:
        """Which of an attack's many: PGD's budgets, AutoAttack's version, Foolbox's attack."""
        if self.attack != "pgd":
            keys = ("version", "name", "set")
            return [str(self.options[key]) for key in keys if key in self.options]
        budgets = "-".join(str(i) for i in sorted(self.iters))
        restarts = f"x{self.restarts}" if self.restarts > 1 else ""
        return [budgets + restarts] + (["early"] if self.stop_early else [])

    @property
    def identity(self) -> dict[str, Any]:
        """All of it that can change a verdict, as plain data."""
        known = {**asdict(self), "iters": sorted(self.iters), "options": dict(self.options)}
        return {k: v for k, v in known.items() if k not in _YOUNGER or v != _YOUNGER[k]}

    @property
    def eps_text(self) -> str:
        """eps as tables print it."""
        return print_size(self.eps, self.norm)

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> "AttackSpec":
        """From a battery's table, where sizes are text (`eps = "16/255"`)."""
        plain: dict[str, Any] = {"iters": ()} if table.get("attack", "pgd") != "pgd" else {}
        return cls(**plain, **strict(cls, sizes(table), where))


@dataclass(frozen=True)
class AttackerSpec:
    """A black-box attacker: a method of fdbench.attacks.transfer under a name, and its knobs."""

    name: str
    method: str
    knobs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> "AttackerSpec":
        """From a battery's table: what is neither name nor method is a knob."""
        knobs = dict(table)
        named = {key: knobs.pop(key) for key in ("name", "method") if key in knobs}
        if len(named) < 2:
            raise BadValue(f"{where}: an attacker needs a name and a method, got {dict(table)}.")
        return cls(**named, knobs=knobs)


def default_eps(data: str) -> float:
    """Where neither the user nor the model's training says: contract C7."""
    return 16 / 255 if data == "imagenet" or data.startswith("caad:") else 8 / 255


def default_targeted(classes: int) -> bool:
    """The paper's random target where there are classes enough to choose from: contract C7."""
    return classes >= 100


def digest(content: Any) -> str:
    """16 hex digits that change when the content does; `content` is plain data or a dataclass."""
    plain = content if isinstance(content, dict | list) else asdict(content)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
