"""On what images and under what threat a table's line stands: its columns and its title, once.

Free of torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pandas import DataFrame

from fdbench.reporting.attack_columns import sees_network, stored_set
from fdbench.store import Run

# The columns of a setting. A table has those of one of these three, and is cut into parts, and its
# figure into panels, where one of them changes.
THREAT = ("data", "split", "norm", "eps", "targeted")
WHITE_BOX = (*THREAT, "knowledge")
BLACK_BOX = (*THREAT, "set", "digest")


@dataclass(frozen=True, order=True)
class Setting:
    """Equal for lines that belong into one table; empty is what the table does not distinguish."""

    data: str
    split: str
    norm: str
    eps: str  # as tables print it
    targeted: str  # "targeted" or "untargeted"
    knowledge: str = ""  # "white-box" or "black-box"
    set: str = ""  # of stored images, in the black box
    digest: str = ""  # the first digits of that set's

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
            "targeted" if spec.targeted else "untargeted",
            knowledge="white-box" if sees_network(spec) else "black-box",
            set=name,
            digest=digest[:8],
        )

    @property
    def title(self) -> str:
        """`cifar10 test, linf 8/255, untargeted, white-box`; a set stands for its knowledge."""
        known = f"set {self.set} ({self.digest})" if self.set else self.knowledge
        threat = f"{self.data} {self.split}, {self.norm} {self.eps}, {self.targeted}"
        return f"{threat}, {known}" if known else threat

    def columns(self, names: Sequence[str]) -> dict[str, str]:
        """These of its fields, as a table's columns."""
        return {name: getattr(self, name) for name in names}


def by_setting(table: DataFrame, names: Sequence[str]) -> Iterator[tuple[Setting, DataFrame]]:
    """The lines of each setting, in the table's order; `names` are the columns that spell it."""
    for key, lines in table.groupby(list(names), sort=False):
        yield Setting(**dict(zip(names, map(str, key), strict=True))), lines
