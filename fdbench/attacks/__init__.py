"""The attacks. Each is a plain function of a network and images; evaluate.py verifies and judges.

An attack's runner (the `run_...` named in ATTACKS) turns an AttackSpec into readings: named sets of
adversarial images. It never decides whether an image was broken.
"""

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


@dataclass(frozen=True)
class Entry:
    """Where an attack's code is, as "module:function", imported when it runs."""

    run: str  # (Subject, AttackSpec) -> readings
    steps: str  # AttackSpec -> how often it ticks for a batch, at most
    # Draws random numbers per batch: the batch boundaries are part of the run, and a batch is
    # attacked whole or not at all (contract C3).
    whole_batches: bool = False
    # Without acceleration it is given all images of the run, as its package would be, and makes its
    # batches itself.
    whole_run: bool = False
    blind: bool = False  # black box: never given the network it is judged on
    warns: str | None = None  # (AttackSpec, Setting) -> what the run's readers must know
    # (results folder, AttackSpec) -> what besides the spec decides its images (RunInfo.further)
    describes: str | None = None
    # (results folder, AttackSpec, image ids) -> (B,) the classes that a targeted attack's images
    # were made towards, where they were made before; None: chosen as AttackSpec.targets says
    targets: str | None = None


ATTACKS = {
    "pgd": Entry("fdbench.attacks.pgd:run_pgd", "fdbench.attacks.pgd:count_steps"),
    "autoattack": Entry(
        "fdbench.attacks.autoattack:run_autoattack",
        "fdbench.attacks.autoattack:count_steps",
        whole_batches=True,
        whole_run=True,
        warns="fdbench.attacks.autoattack:warnings_for",
    ),
    "foolbox": Entry(
        "fdbench.attacks.foolbox:run_foolbox",
        "fdbench.attacks.foolbox:count_steps",
        whole_batches=True,
    ),
    "transfer": Entry(
        "fdbench.attacks.stored:run_stored",
        "fdbench.attacks.stored:count_steps",
        blind=True,
        warns="fdbench.attacks.stored:warnings_for",
        describes="fdbench.attacks.stored:describe",
        targets="fdbench.attacks.stored:targets",
    ),
}

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
