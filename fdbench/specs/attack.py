"""AttackSpec and AttackerSpec: an attack's name, threat, goal, parameters. Free of torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fdbench.errors import BadValue, FdbenchError
from fdbench.specs.apgd import APGDParameters, FastParameters
from fdbench.specs.autoattack import AutoAttackParameters
from fdbench.specs.foolbox import FoolboxParameters
from fdbench.specs.parameters import Parameters, RecordedParameters
from fdbench.specs.parsing import check_of, parsed
from fdbench.specs.pgd import PGDParameters
from fdbench.specs.plain import pick, sizes
from fdbench.specs.sigma_zero import SigmaZeroParameters
from fdbench.specs.transfer import TransferParameters
from fdbench.units import pixels, print_size

SAVE = ("float", "png")  # how adversarial images are stored: exactly; also as 8-bit PNG
TARGETS = ("random", "least-likely", "file")
_THREAT_AND_GOAL = {"attack": str, "norm": str, "eps": float, "targeted": bool, "targets": str}

# The built-in attacks: run.json and tables can be read without importing an attack.
PARAMETERS: dict[str, type[Parameters]] = {
    "pgd": PGDParameters,
    "fast": FastParameters,
    "apgd": APGDParameters,
    "autoattack": AutoAttackParameters,
    "sigma-zero": SigmaZeroParameters,
    "foolbox": FoolboxParameters,
    "transfer": TransferParameters,
}


@dataclass(frozen=True)
class AttackSpec:
    """An attack on one network: its name, threat, goal and parameters.

    `eps` is in image units; `targets`, one of TARGETS, is how target classes are chosen.
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
        """Every field that can change a verdict, as plain data; run names contain its hash."""
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
        """The spec as stored in run.json."""
        values = {name: getattr(self, name) for name in _THREAT_AND_GOAL}
        return {**values, "parameters": self.parameters.plain}

    @property
    def eps_text(self) -> str:
        """eps as tables print it."""
        return print_size(self.eps, self.norm)

    def with_parameters(self, **changes: Any) -> "AttackSpec":
        """A copy with some parameters replaced."""
        return replace(self, parameters=replace(self.parameters, **changes))

    @classmethod
    def of(cls, table: object, where: str) -> "AttackSpec":
        """Parses a battery's table or a run.json; sizes may be text (`eps = "16/255"`).

        Parameters are at the top level or under `parameters`. The first version wrote PGD's fields
        for every attack, and the parameters of other attacks under `options`.
        """
        if not isinstance(table, Mapping):
            raise FdbenchError(f"{where}: expected a table, got {table!r}.")
        given = {"attack": "pgd", **sizes(table)}
        threat = _threat_in(given, where)
        attack = threat["attack"]
        options = {**_table_in(given, "options", where), **_table_in(given, "parameters", where)}
        parameters_class = PARAMETERS.get(attack, RecordedParameters)
        if attack != "pgd":
            given = {key: value for key, value in given.items() if not _pgd_default(key, value)}
        if twice := sorted(given.keys() & options.keys()):
            raise FdbenchError(f"{where}: {', '.join(twice)} is given twice.")
        return cls(**threat, parameters=parameters_class.of({**given, **options}, where))


def _threat_in(given: dict[str, Any], where: str) -> dict[str, Any]:
    """Takes threat and goal out of a table. Raises FdbenchError for a value of a wrong kind."""
    threat = {name: given.pop(name) for name in _THREAT_AND_GOAL if name in given}
    for name, kind in _THREAT_AND_GOAL.items():
        if name in threat and not check_of(kind)(threat[name]):
            raise FdbenchError(f"{where}: {name} can't be {threat[name]!r}.")
    if "eps" in threat:
        threat["eps"] = float(threat["eps"])  # a file's 12 is the 12.0 of the command line
        if not 0 < threat["eps"] < math.inf:
            raise FdbenchError(f"{where}: eps can't be {threat['eps']!r}.")
    return threat


def _table_in(given: dict[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """Takes a table out of another; an empty one if there is none. Raises FdbenchError."""
    table = given.pop(name, {})
    if not isinstance(table, Mapping):
        raise FdbenchError(f"{where}, {name}: expected a table, got {table!r}.")
    return table


def _pgd_default(key: str, value: Any) -> bool:
    """Whether this is a PGD field with the value the first version recorded for other attacks."""
    defaults = {**PGDParameters().plain, "iters": []}
    return key in defaults and value == defaults[key]


Knobs = Mapping[str, Any]  # of a transfer method, by name


@dataclass(frozen=True)
class AttackerSpec:
    """A black-box attacker: its name, its transfer method and the method's knobs."""

    name: str
    method: str
    knobs: Knobs = field(default_factory=dict)

    @classmethod
    def of(cls, table: object, where: str) -> "AttackerSpec":
        """Parses a battery's table: every key except name and method is a knob."""
        if not isinstance(table, Mapping):
            raise FdbenchError(f"{where}: expected a table of an attacker, got {table!r}.")
        knobs = sizes(table)
        named = {key: knobs.pop(key) for key in ("name", "method") if key in knobs}
        if len(named) < 2:
            raise BadValue(f"{where}: an attacker needs a name and a method, got {dict(table)}.")
        return parsed(cls, {**named, "knobs": knobs}, where)


def default_eps(data: str) -> float:
    """The eps used when neither the user nor the model's training gives one (contract C7)."""
    return 16 / 255 if data == "imagenet" or data.startswith("caad:") else 8 / 255


def default_targeted(classes: int) -> bool:
    """Whether attacks are targeted, as the paper's are, by default (contract C7)."""
    return classes >= 100


def targeted_caveat(targeted: bool) -> str:
    """Returns what a result must say about a targeted attack; "" for an untargeted one."""
    if not targeted:
        return ""
    return "robust accuracy under *targeted* attack; leaderboards mean untargeted"
