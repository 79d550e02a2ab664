"""The attack interface: what an attack declares, receives and returns.

An attack turns a batch into readings, named sets of adversarial images. It never decides whether an
image was broken: the loop verifies each image and the float32 network judges it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from fdbench.attacks.course import Course
from fdbench.randomness import ImageId
from fdbench.specs import AttackSpec, Parameters
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels

# What an attack's random numbers depend on. "image": batch size, order and sharding change nothing.
# "batch": the batch boundaries are part of the run, and a batch is attacked whole or not at all.
# "run": the attack receives all images of the run at once and batches them itself.
Draws = Literal["image", "batch", "run"]

# Verifies adversaries of some images of the batch and returns the float32 network's labels:
# (adversaries, their indices in the batch) -> (B,).
Judge = Callable[[Images, Labels], Labels]


@runtime_checkable
class Tick(Protocol):
    """Called after each forward and backward pass of the batch, or after a `share` of one.

    `stage` names the attack's current part, for people who wait.
    """

    def __call__(self, share: float = 1.0, stage: str = "") -> None: ...


@runtime_checkable
class Scratch(Protocol):
    """Stores an attack's state of the current batch on disk, so that a kill loses only a part.

    Cleared when the batch's rows are written.
    """

    def load(self) -> dict[str, Tensor] | None: ...

    def save(self, tensors: Mapping[str, Tensor]) -> None: ...


class NoScratch:
    """A scratch for calls that are never resumed."""

    def load(self) -> dict[str, Tensor] | None:
        """Returns None: nothing is stored."""
        return None

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        """Stores nothing."""


# Passes over the final image of a network that draws random numbers. The first is the verdict, as
# in AutoAttack's package; their mean, and the images that are right in all, stand beside it.
DRAWS = 10


@dataclass(frozen=True)
class Reading:
    """Adversarial images from an attack, to be verified and judged under `name`.

    Readings with the same name (restarts) are merged per image, worst case. Where the network draws
    random numbers, an attack that asked the judge returns what it heard, since to ask again would
    be another draw: `pred`, one verdict, and `right`, how many of DRAWS were right.
    """

    name: str
    adv: Images
    first_wrong: Labels | None = None  # (B,) earliest wrong iterate, 0 if none
    notes: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # extra fields of the rows
    pred: Labels | None = None
    right: Labels | None = None
    course: Course | None = None  # the losses on the way, where the attack followed them


@dataclass(frozen=True)
class Subject:
    """What an attack may use: the batch, the network to attack, the judge, the targets."""

    net: nn.Module  # frozen; the judged network, possibly a faster or low-precision copy
    batch: Batch
    target: Labels | None
    threat: Threat
    seed: int
    judge: Judge
    tick: Tick
    classes: int
    scratch: Scratch
    most: int  # images per forward pass; the batch is larger only where draws are "run"
    reference: bool = False  # the network as it is, and packages' own code where ours is faster


class Attack(ABC):
    """One attack, built in or from another package; stateless, or holding the set it replays.

    Attributes:
        name: its name on the command line and in tables.
        parameters: the class of its frozen parameters; its command's options are their fields.
        draws: what its random numbers depend on.
        reference_draws: the same with `--reference`, where it differs.
        gradients_per_pass: what a pass of `cost` takes, in forward and backward passes.
        drops_broken: broken images are attacked no further, so that `cost` is an upper bound.
    """

    name: ClassVar[str]
    parameters: ClassVar[type[Parameters]]
    draws: ClassVar[Draws] = "image"
    reference_draws: ClassVar[Draws | None] = None
    gradients_per_pass: ClassVar[float] = 1.0
    drops_broken: ClassVar[bool] = False

    @abstractmethod
    def cost(self, spec: AttackSpec) -> int:
        """Returns the most passes an image can cost: how often `run` ticks per batch.

        Raises BadValue for invalid parameters.
        """

    @abstractmethod
    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """Yields the adversarial images of a batch, one reading at a time."""

    def check(self, spec: AttackSpec) -> None:
        """Raises BadValue if the attack can't run under this threat; called before it runs."""
        self.cost(spec)

    def warnings(self, spec: AttackSpec, weights: str, classes: int) -> list[str]:
        """Returns warnings about a run on a network with these weights and classes."""
        return []

    def trial(self, spec: AttackSpec) -> AttackSpec:
        """Returns a short version of the attack, for `--precision auto` to compare precisions."""
        return spec

    def together(self) -> "Attack":
        """Returns an attack for runs at several radii, which attack each batch in turn."""
        return self

    @property
    def sources(self) -> Mapping[str, Any]:
        """What besides the spec determines the images, for run.json: the replayed set."""
        return {}

    def targets(self, ids: Sequence[ImageId]) -> Labels | None:
        """Returns the (B,) targets of images made earlier; None: the spec chooses them."""
        return None
