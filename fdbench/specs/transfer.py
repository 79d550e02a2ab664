"""The parameters of a transfer attack: a stored set of images, replayed against a victim."""

from dataclasses import dataclass
from typing import ClassVar

from fdbench.errors import BadValue
from fdbench.specs.parameters import Parameters, parameter


@dataclass(frozen=True)
class TransferParameters(Parameters):
    """The set of adversarial images; `digest` changes with anything that can change them."""

    summary: ClassVar[str] = "Black box: surrogates, submissions, or images made elsewhere."
    sees_network: ClassVar[bool] = False

    set: str | None = parameter(None, "")
    digest: str | None = parameter(None, "")

    def __post_init__(self) -> None:
        if not (self.set and self.digest):
            raise BadValue("a transfer attack replays a set: fdbench attack transfer --use SET.")

    @property
    def marks(self) -> tuple[str, ...]:
        """Nothing: each set has tables of its own."""
        return ()

    @property
    def variant(self) -> tuple[str, ...]:
        """The set's name."""
        return (str(self.set),)
