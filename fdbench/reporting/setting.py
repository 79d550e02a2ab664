"""The data and the threat that a table's line is about, as columns and as a title.

Free of torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

from pandas import DataFrame, Series

from fdbench.reporting.attack_columns import sees_network, stored_set
from fdbench.specs import AttackSpec
from fdbench.store import Run

# The columns of a setting. A table has one of these three groups; each combination of their values
# is a part of the table and a panel of its figure.
THREAT = ("data", "split", "norm", "eps", "targeted")
WHITE_BOX = (*THREAT, "knowledge")
BLACK_BOX = (*THREAT, "set", "digest")


@dataclass(frozen=True)
class Setting:
    """Equal for lines of one table; fields that the table does not distinguish are empty."""

    data: str
    split: str
    norm: str
    eps: str  # as tables print it
    targeted: str  # "untargeted", "targeted", or "targeted (least-likely)": another rule of targets
    knowledge: str = ""  # "white-box" or "black-box"
    set: str = ""  # of stored images, in the black box
    digest: str = ""  # the first digits of the set's digest

    @classmethod
    def of(cls, run: Run) -> "Setting":
        """The setting of a run's lines."""
        data, spec = run.info.data, run.info.attack
        name, digest = stored_set(spec)
        return cls(
            data.name,
            data.split,
            spec.norm,
            spec.eps_text,
            _goal(spec),
            knowledge="white-box" if sees_network(spec) else "black-box",
            set=name,
            digest=digest[:8],
        )

    @property
    def title(self) -> str:
        """`cifar10 test, linf 8/255, untargeted, white-box`; a set replaces the knowledge."""
        source = f"set {self.set} ({self.digest})" if self.set else self.knowledge
        threat = f"{self.data} {self.split}, {self.norm} {self.eps}, {self.targeted}"
        return f"{threat}, {source}" if source else threat

    @property
    def order(self) -> tuple[str | float, ...]:
        """By its fields, eps as a number: 8/255 before 16/255."""
        return tuple(
            size_in(value) if name == "eps" else value for name, value in vars(self).items()
        )

    def covers(self, run: Run) -> bool:
        """Whether a run's lines have this setting, in the fields that it distinguishes."""
        pairs = zip(astuple(self), astuple(Setting.of(run)), strict=True)
        return all(mine in ("", its) for mine, its in pairs)

    def columns(self, names: Sequence[str]) -> dict[str, str]:
        """Some of its fields, as a table's columns."""
        return {name: getattr(self, name) for name in names}


def _goal(spec: AttackSpec) -> str:
    if not spec.targeted:
        return "untargeted"
    return "targeted" if spec.targets == "random" else f"targeted ({spec.targets})"


def size_in(text: str) -> float:
    """The size in a table's text, `8/255` or `0.5`."""
    number, _, below = text.partition("/")
    return float(number) / float(below or 1)


def in_order(table: DataFrame, keys: Sequence[str]) -> DataFrame:
    """The lines ordered by columns, eps as a number."""

    def value(column: Series) -> Series:
        return column.map(size_in) if column.name == "eps" else column

    return table.sort_values(list(keys), kind="stable", ignore_index=True, key=value)


def by_setting(table: DataFrame, names: Sequence[str]) -> Iterator[tuple[Setting, DataFrame]]:
    """The lines of each setting, in the table's order; `names` are the setting's columns."""
    for key, lines in table.groupby(list(names), sort=False):
        yield Setting(**dict(zip(names, map(str, key), strict=True))), lines
