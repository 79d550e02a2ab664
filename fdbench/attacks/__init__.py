"""The attacks. Each is a plain function of a network and images; evaluate.py verifies and judges.

An attack's runner (the `run_...` named in ATTACKS) turns an AttackSpec into readings: named sets of
adversarial images. It never decides whether an image was broken.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from fdbench.specs import AttackSpec
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels


@dataclass(frozen=True)
class Entry:
    """Where an attack's code is, as "module:function", imported when it runs."""

    run: str  # (Subject, AttackSpec) -> readings
    steps: str  # AttackSpec -> how often it ticks for a batch


ATTACKS = {"pgd": Entry("fdbench.attacks.pgd:run_pgd", "fdbench.attacks.pgd:count_steps")}

# Labels the judge gives to some images of the batch: (their adversaries, their indices) -> (B,).
Judge = Callable[[Images, Labels], Labels]


@dataclass(frozen=True)
class Reading:
    """One answer of an attack: images to be verified and judged under `name`.

    A name that comes again (a restart) is merged per image, worst case.
    """

    name: str
    adv: Images
    first_wrong: Labels | None = None  # (B,) earliest wrong iterate, 0 where none was


@dataclass(frozen=True)
class Subject:
    """What a runner may touch: the batch, the network to attack, the judge, the wanted targets."""

    net: nn.Module  # frozen; same function as the judged network, maybe faster
    batch: Batch
    target: Labels | None
    threat: Threat
    seed: int
    judge: Judge
    tick: Callable[[], None]  # call after each forward and backward pass of the batch


Runner = Callable[[Subject, AttackSpec], Iterator[Reading]]
