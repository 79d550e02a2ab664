"""An attack's parameters besides its threat and goal. Free of torch.

Each attack has a frozen dataclass, here or in the package that provides the attack. Its fields
become command-line options; batteries and run.json store them as plain data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol, runtime_checkable

from fdbench.errors import BadValue, unknown
from fdbench.specs.parsing import parsed
from fdbench.units import check_size

# The first versions recorded PGD's fields for every attack, so every run's identity has them.
_RECORDED_FOR_ALL: dict[str, Any] = {
    "iters": [],
    "alpha": None,
    "restarts": 1,
    "loss": "ce",
    "random_start": True,
}


@runtime_checkable
class ThreatAndGoal(Protocol):
    """The threat and the goal of an attack: what parameters can depend on. AttackSpec has them."""

    @property
    def attack(self) -> str: ...
    @property
    def norm(self) -> str: ...
    @property
    def eps(self) -> float: ...
    @property
    def targeted(self) -> bool: ...


def parameter(
    default: Any,
    text: str,
    *,
    least: int | None = None,
    choices: str | tuple[str, ...] = (),
    flag: str = "",
    size: bool = False,
) -> Any:
    """A field of a Parameters class, described for its command-line option.

    Args:
        default: the value if none is given; None is not recorded.
        text: the help of its option; "" for a field without an option.
        least: the smallest whole number allowed.
        choices: the values allowed, or the registry ("losses") that lists them.
        flag: the option's name, if it is not the field's.
        size: a perturbation size in the threat's norm, given like --eps; None is "auto".
    """
    described = {"help": text, "least": least, "choices": choices, "flag": flag, "size": size}
    return field(default=default, metadata=described)


@dataclass(frozen=True)
class Parameters:
    """The parameters of one attack; subclasses add fields made by `parameter`.

    `norms` are the norms supported (empty: every norm of fdbench), `goals` untargeted, targeted or
    both, `precisions` those its gradients can be computed in. `sees_network` is False for black-box
    attacks, which never see the victim. `label` replaces the attack's name in messages; `summary`
    is the help of its command.
    """

    summary: ClassVar[str] = ""
    label: ClassVar[str] = ""
    norms: ClassVar[tuple[str, ...]] = ()
    goals: ClassVar[tuple[str, ...]] = ("untargeted", "targeted")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "reference")
    sees_network: ClassVar[bool] = True

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> "Parameters":
        """Parses plain data; an error about an unknown key or wrong type names `where`."""
        return parsed(cls, dict(table), where)

    @classmethod
    def typed(cls, **options: Any) -> "Parameters":
        """Builds it from the command's options; those not given are None or their default."""
        return cls(**options)

    def check(self, spec: ThreatAndGoal) -> None:
        """Raises BadValue if threat, goal and parameters contradict each other."""
        if self.norms and spec.norm not in self.norms:
            raise unknown(f"norm of {spec.attack}", spec.norm, self.norms)
        goal = "targeted" if spec.targeted else "untargeted"
        if goal not in self.goals:
            raise BadValue(f"{spec.attack} can't be {goal}: give --{self.goals[0]}.")

    def check_sizes(self, norm: str) -> None:
        """Raises BadValue for a step size that nobody means in this norm."""
        for one in fields(self):
            value = getattr(self, one.name)
            if one.metadata.get("size") and value is not None:
                check_size(value, norm, one.name)

    def check_least(self) -> None:
        """Raises BadValue for a number below the least that its field allows."""
        for one in fields(self):
            value, least = getattr(self, one.name), one.metadata.get("least")
            if least is not None and value is not None and value < least:
                raise BadValue(f"--{one.name} must be {least} or more, got {value}.")

    @property
    def plain(self) -> dict[str, Any]:
        """The parameters as stored in run.json and batteries."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: _as_json(value) for name, value in values.items() if value is not None}

    @property
    def identity(self) -> dict[str, Any]:
        """The parameters that can change a verdict, in the layout hashed for run names."""
        return {**_RECORDED_FOR_ALL, **({"options": self.plain} if self.plain else {})}

    @property
    def variant(self) -> tuple[str, ...]:
        """The parts of a run's name that identify the variant of the attack."""
        return ()

    @property
    def title(self) -> str:
        """What messages add to the attack's name."""
        return " ".join(self.variant)

    @property
    def marks(self) -> tuple[str, ...]:
        """What a table adds to the attack's name: every parameter that is not at its default.

        Two attacks that may come to other verdicts never share a name and all columns.
        """
        values = {one.name: (getattr(self, one.name), one.default) for one in fields(self)}
        return tuple(f"{name} {value}" for name, (value, usual) in values.items() if value != usual)

    @property
    def stages(self) -> tuple[str, ...]:
        """The attacks that it runs in turn, each on the images still robust; () if it is one."""
        return ()

    @property
    def budgets(self) -> tuple[int, ...]:
        """The iteration counts at which the attack is evaluated; () if it has no budget."""
        return ()

    @property
    def only_any_iterate(self) -> bool:
        """Whether only any-iterate accuracy is measured, not the last iterate's."""
        return False

    @property
    def alone(self) -> "Parameters":
        """The parameters of the same attack at one radius."""
        return self

    def at(self, radii: Sequence[float]) -> "Parameters":
        """Returns the parameters for an attack at several radii in one run.

        Raises BadValue if the attack takes one.
        """
        raise BadValue(
            "--eps takes one size for this attack; several are for: attack fast, attack sigma-zero."
        )

    def columns(self, spec: ThreatAndGoal, budget: int | None) -> dict[str, Any]:
        """The parameters' table columns at a budget."""
        return {"loss": None, "restarts": 1, "alpha": None, "alpha_rule": None}


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class RecordedParameters(Parameters):
    """The parameters of an attack that is not built in, as recorded in a run or battery."""

    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> "RecordedParameters":
        """Accepts any keys: only the attack itself can check them."""
        return cls(dict(table))

    @property
    def plain(self) -> dict[str, Any]:
        """The recorded values."""
        return dict(self.values)

    @property
    def marks(self) -> tuple[str, ...]:
        """The recorded values: what is usual is not known here."""
        return tuple(f"{name} {value}" for name, value in self.values.items())
