"""Which attack: its name, threat, goal and parameters; named and hashed. Free of torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fdbench.errors import BadValue, FdbenchError
from fdbench.specs.autoattack import AutoAttackParameters
from fdbench.specs.foolbox import FoolboxParameters
from fdbench.specs.parameters import Parameters, RecordedParameters
from fdbench.specs.parsing import check_of
from fdbench.specs.pgd import PGDParameters
from fdbench.specs.plain import pick, sizes
from fdbench.specs.transfer import TransferParameters
from fdbench.units import pixels, print_size

SAVE = ("float", "png")  # how adversarial images are kept: exactly; as whole pixels besides
TARGETS = ("random", "least-likely", "file")
_THREAT_AND_GOAL = {"attack": str, "norm": str, "eps": float, "targeted": bool, "targets": str}

# Of the built-in attacks, so that run.json and tables are read without importing an attack.
PARAMETERS: dict[str, type[Parameters]] = {
    "pgd": PGDParameters,
    "autoattack": AutoAttackParameters,
    "foolbox": FoolboxParameters,
    "transfer": TransferParameters,
}


@dataclass(frozen=True)
class AttackSpec:
    """An attack on one network: its name, the threat, the goal, and the attack's own parameters.

    `eps` is in image units; `targets` says how the classes of a targeted attack are chosen, one of
    TARGETS.
    """

    attack: str = "pgd"
    norm: str = "linf"
    eps: float = 8 / 255
    targeted: bool = False
    targets: str = "random"
    parameters: Parameters = field(default_factory=PGDParameters)

    def __post_init__(self) -> None:
        pick("kind of targets", self.targets, TARGETS)
        if self.targets != "random" and not self.targeted:
            raise BadValue(f"--targets {self.targets} needs --targeted.")
        self.parameters.check(self)

    @property
    def name(self) -> str:
        """`pgd-10-100-t-linf-16`: readable, not unique; the run's name adds a hash."""
        size = pixels(self.eps).split("/")[0] if self.norm == "linf" else f"{self.eps:.4g}"
        kind = "t" if self.targeted else "u"
        return "-".join([self.attack, *self.parameters.variant, kind, self.norm, size])

    @property
    def title(self) -> str:
        """`pgd 10, 100`: the attack as messages name it."""
        return f"{self.parameters.label or self.attack} {self.parameters.title}".rstrip()

    @property
    def identity(self) -> dict[str, Any]:
        """All of it that can change a verdict, as plain data; runs are named by its hash."""
        chosen = {} if self.targets == "random" else {"targets": self.targets}
        return {
            "attack": self.attack,
            "norm": self.norm,
            "eps": self.eps,
            "targeted": self.targeted,
            **chosen,
            **self.parameters.identity,
        }

    @property
    def plain(self) -> dict[str, Any]:
        """As run.json holds it."""
        values = {name: getattr(self, name) for name in _THREAT_AND_GOAL}
        return {**values, "parameters": self.parameters.plain}

    @property
    def eps_text(self) -> str:
        """eps as tables print it."""
        return print_size(self.eps, self.norm)

    def with_parameters(self, **changes: Any) -> "AttackSpec":
        """The same attack with other parameters."""
        return replace(self, parameters=replace(self.parameters, **changes))

    @classmethod
    def of(cls, table: object, where: str) -> "AttackSpec":
        """From a battery's table or a run.json, where sizes may be text (`eps = "16/255"`).

        Parameters stand beside the threat, or under `parameters`; the first version wrote PGD's
        fields for every attack, and all others' parameters under `options`.
        """
        if not isinstance(table, Mapping):
            raise FdbenchError(f"{where}: expected a table, got {table!r}.")
        given = {"attack": "pgd", **sizes(table)}
        threat = {name: given.pop(name) for name in _THREAT_AND_GOAL if name in given}
        for name, kind in _THREAT_AND_GOAL.items():
            if name in threat and not check_of(kind)(threat[name]):
                raise FdbenchError(f"{where}: {name} can't be {threat[name]!r}.")
        attack = threat["attack"]
        options = {**given.pop("options", {}), **given.pop("parameters", {})}
        own = PARAMETERS.get(attack, RecordedParameters)
        if attack != "pgd":
            given = {key: value for key, value in given.items() if not _pgd_default(key, value)}
        return cls(**threat, parameters=own.of({**given, **options}, where))


def _pgd_default(key: str, value: Any) -> bool:
    """Whether this is one of PGD's fields as the first version recorded it for other attacks."""
    untouched = {**PGDParameters().plain, "iters": []}
    return key in untouched and value == untouched[key]


@dataclass(frozen=True)
class AttackerSpec:
    """A black-box attacker: a transfer method under a name, and its knobs."""

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
