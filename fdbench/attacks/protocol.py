"""What an attack is: what it declares, what it is given, what it returns.

An attack turns a batch into readings, named sets of adversarial images. It never decides whether an
image was broken: the loop verifies every image and the float32 network judges it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from fdbench.randomness import ImageId
from fdbench.specs import AttackSpec, Parameters
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels

# What an attack's random numbers belong to. "image": batch size, order and sharding change nothing.
# "batch": the batch boundaries are part of the run, and a batch is attacked whole or not at all.
# "run": the attack is given all images of the run at once and makes its batches itself.
Draws = Literal["image", "batch", "run"]

# Labels that the float32 network gives to adversaries of some images of the batch, after they were
# verified: (adversaries, their indices in the batch) -> (B,).
Judge = Callable[[Images, Labels], Labels]


@runtime_checkable
class Tick(Protocol):
    """Call after each forward and backward pass of the batch; `share` of a pass was done."""

    def __call__(self, share: float = 1.0) -> None: ...


@runtime_checkable
class Scratch(Protocol):
    """Keeps an attack's state of the batch under way on disk, so that a kill costs only a part.

    Cleared when the batch's rows are written.
    """

    def load(self) -> dict[str, Tensor] | None: ...

    def save(self, tensors: Mapping[str, Tensor]) -> None: ...


class NoScratch:
    """A scratch for calls that nothing continues."""

    def load(self) -> dict[str, Tensor] | None:
        """Nothing is kept."""
        return None

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Keeps nothing."""


@dataclass(frozen=True)
class Reading:
    """One answer of an attack: adversarial images to be verified and judged under `name`.

    A name that comes again (a restart) is merged per image, worst case.
    """

    name: str
    adv: Images
    first_wrong: Labels | None = None  # (B,) earliest wrong iterate, 0 where none was
    notes: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # further fields of the rows


@dataclass(frozen=True)
class Subject:
    """What an attack may touch: the batch, the network to attack, the judge, the wanted targets."""

    net: nn.Module  # frozen; the judged network's function, maybe faster or in low precision
    batch: Batch
    target: Labels | None
    threat: Threat
    seed: int
    judge: Judge
    tick: Tick
    classes: int
    scratch: Scratch
    most: int  # images in a forward pass; the batch is larger only for attacks that draw per run


class Attack(ABC):
    """One attack, built in or of another package; stateless, or holding what it replays.

    Attributes:
        name: what the command line and tables call it.
        parameters: its frozen parameters; options of its command are made of their fields.
        draws: what its random numbers belong to.
        reference_draws: the same with `--reference`, where it differs.
    """

    name: ClassVar[str]
    parameters: ClassVar[type[Parameters]]
    draws: ClassVar[Draws] = "image"
    reference_draws: ClassVar[Draws | None] = None

    @abstractmethod
    def cost(self, spec: AttackSpec) -> int:
        """The passes that an image costs at most: how often `run` ticks for a batch.

        Raises BadValue for parameters that can't be meant.
        """

    @abstractmethod
    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """The adversarial images of a batch, reading by reading."""

    def check(self, spec: AttackSpec) -> None:
        """Raises BadValue where the attack can't run in this threat; called before it runs."""
        self.cost(spec)

    def warnings(self, spec: AttackSpec, weights: str, classes: int) -> list[str]:
        """What readers of a run on a network of these weights and classes must know."""
        return []

    def trial(self, spec: AttackSpec) -> AttackSpec:
        """A short form of the attack, on which `--precision auto` compares precisions."""
        return spec

    @property
    def sources(self) -> Mapping[str, Any]:
        """What besides the spec decides the images, for run.json: the set that is replayed."""
        return {}

    def targets(self, ids: Sequence[ImageId]) -> Labels | None:
        """(B,) the classes that images made before were made towards; None: chosen by the spec."""
        return None
