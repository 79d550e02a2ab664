"""What an attack meets and what it answers; it never decides whether an image was broken."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from fdbench.specs import AttackSpec
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels


@dataclass(frozen=True)
class Setting:
    """What an attack meets: a network of so many classes, and sets of images made before."""

    results: Path
    weights: str  # sha256 of the network's parameters
    classes: int


# Labels the judge gives to some images of the batch: (their adversaries, their indices) -> (B,).
Judge = Callable[[Images, Labels], Labels]


@runtime_checkable
class Tick(Protocol):
    """Call after each forward and backward pass of the batch; `share` of a step was done."""

    def __call__(self, share: float = 1.0) -> None: ...


@runtime_checkable
class Scratch(Protocol):
    """What an attack of several parts keeps on disk of the batch under way, to go on after a kill.

    Cleared when the batch's rows are written.
    """

    def load(self) -> dict[str, Tensor] | None: ...

    def save(self, tensors: Mapping[str, Tensor]) -> None: ...


@dataclass(frozen=True)
class Reading:
    """One answer of an attack: images to be verified and judged under `name`.

    A name that comes again (a restart) is merged per image, worst case.
    """

    name: str
    adv: Images
    first_wrong: Labels | None = None  # (B,) earliest wrong iterate, 0 where none was
    notes: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # further fields of the rows


@dataclass(frozen=True)
class Subject:
    """What a runner may touch: the batch, the network to attack, the judge, the wanted targets."""

    net: nn.Module  # frozen; same function as the judged network, maybe faster
    batch: Batch
    target: Labels | None
    threat: Threat
    seed: int
    judge: Judge
    tick: Tick
    classes: int
    scratch: Scratch
    results: Path  # where sets of adversarial images lie
    most: int  # images in a forward pass; the batch is larger only for attacks of whole runs


Runner = Callable[[Subject, AttackSpec], Iterator[Reading]]
