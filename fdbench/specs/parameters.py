"""What an attack can be told besides its threat and its goal. Free of torch.

Each attack has a frozen dataclass of its own here or, if it comes from another package, there. The
command line makes its options of the fields, batteries and run.json hold them as plain data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from fdbench.errors import BadValue, unknown
from fdbench.specs.parsing import parsed

if TYPE_CHECKING:
    from fdbench.specs.attack import AttackSpec

# The first versions recorded PGD's fields for every attack, so each run's identity holds them.
_RECORDED_FOR_ALL: dict[str, Any] = {
    "iters": [],
    "alpha": None,
    "restarts": 1,
    "loss": "ce",
    "random_start": True,
}


def parameter(
    default: Any,
    text: str,
    *,
    least: int | None = None,
    choices: str | tuple[str, ...] = (),
    flag: str = "",
    size: bool = False,
) -> Any:
    """A field of a Parameters class, with what its command-line option needs.

    Args:
        default: its value where nothing is given; None is left out of what is recorded.
        text: the help of its option; "" for a field without an option.
        least: the smallest whole number allowed.
        choices: the texts allowed, or the registry ("losses") that holds them.
        flag: the option's name, where it is not the field's.
        size: a perturbation size in the threat's norm, typed like --eps; None is typed "auto".
    """
    described = {"help": text, "least": least, "choices": choices, "flag": flag, "size": size}
    return field(default=default, metadata=described)


@dataclass(frozen=True)
class Parameters:
    """The parameters of one attack; subclasses add fields made by `parameter`.

    `norms` are those the attack knows (none named: every norm fdbench knows), `goals` whether it
    can be untargeted, targeted or both. `precisions` are those its gradients can have. A black-box
    attack never `sees_network`, the one that is judged. `label` is what messages call the attack,
    where that is not its name; `summary` is the help of its command.
    """

    summary: ClassVar[str] = ""
    label: ClassVar[str] = ""
    norms: ClassVar[tuple[str, ...]] = ()
    goals: ClassVar[tuple[str, ...]] = ("untargeted", "targeted")
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "reference")
    sees_network: ClassVar[bool] = True

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> "Parameters":
        """From plain data; an unknown key or a wrong kind is an error that names `where`."""
        return parsed(cls, dict(table), where)

    @classmethod
    def typed(cls, **options: Any) -> "Parameters":
        """From the options of its command; those that were not given are None or their default."""
        return cls(**options)

    def check(self, spec: "AttackSpec") -> None:
        """Raises BadValue where threat, goal and parameters contradict each other."""
        if self.norms and spec.norm not in self.norms:
            raise unknown(f"norm of {spec.attack}", spec.norm, self.norms)
        goal = "targeted" if spec.targeted else "untargeted"
        if goal not in self.goals:
            raise BadValue(f"{spec.attack} can't be {goal}: give --{self.goals[0]}.")

    @property
    def plain(self) -> dict[str, Any]:
        """As run.json and batteries hold them."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: _as_json(value) for name, value in values.items() if value is not None}

    @property
    def identity(self) -> dict[str, Any]:
        """What of them can change a verdict, in the layout that names of runs are hashed from."""
        return {**_RECORDED_FOR_ALL, **({"options": self.plain} if self.plain else {})}

    @property
    def variant(self) -> tuple[str, ...]:
        """The parts of a run's name that say which of the attack's many forms it is."""
        return ()

    @property
    def title(self) -> str:
        """What messages add to the attack's name."""
        return " ".join(self.variant)

    @property
    def budgets(self) -> tuple[int, ...]:
        """The numbers of iterations after which the attack is read; () if it has no budget."""
        return ()

    @property
    def only_any_iterate(self) -> bool:
        """Whether only "was any iterate wrong" can be read, not the last iterate."""
        return False

    def columns(self, spec: "AttackSpec", budget: int | None) -> dict[str, Any]:
        """What tables show of the parameters, read at a budget."""
        return {"loss": None, "restarts": 1, "alpha": None, "alpha_rule": None}


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class RecordedParameters(Parameters):
    """The parameters of an attack that is not built in, as a run or a battery holds them."""

    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str) -> "RecordedParameters":
        """Any keys: only the attack itself knows which it has."""
        return cls(dict(table))

    @property
    def plain(self) -> dict[str, Any]:
        """The recorded values."""
        return dict(self.values)
