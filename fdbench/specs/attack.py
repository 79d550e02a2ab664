"""Which attack: frozen, validated, named and hashed. Free of torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fdbench.errors import BadValue
from fdbench.specs.plain import pick, sizes, strict
from fdbench.units import pixels, print_size

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
