"""Requests, before a model or a data set is opened. Free of torch.

None means: filled in from the model and the data (contract C7).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fdbench.specs import AttackSpec, Parameters, PGDParameters


@dataclass(frozen=True)
class DataRequest:
    """Which images: a data set, its split, where it is stored, and which come first."""

    data: str | None = None
    split: str | None = None  # None: "test", or the split that a set was made from
    data_dir: Path | None = None
    px: int | None = None
    download: bool = False
    sample: str | None = None  # as for data.sampled; None: balanced where ordered by class


@dataclass(frozen=True)
class Compute:
    """What to compute on; `threads` None leaves PyTorch's own number."""

    device: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class AttackRequest:
    """Which attack; `eps` in image units."""

    attack: str = "pgd"
    parameters: Parameters = field(default_factory=PGDParameters)
    norm: str = "linf"
    eps: float | None = None
    targeted: bool | None = None
    targets: str = "random"  # one of specs.TARGETS
    wanted: Mapping[int | str, int] = field(default_factory=dict)  # targets from a file
    precision: str = "fp32"
    radii: tuple[float, ...] = ()  # several in place of eps, in one run

    @classmethod
    def of(cls, spec: AttackSpec, precision: str) -> "AttackRequest":
        """Builds the request for a battery's attack, which has no open settings."""
        return cls(
            spec.attack,
            spec.parameters,
            spec.norm,
            spec.eps,
            spec.targeted,
            spec.targets,
            precision=precision if precision in spec.parameters.precisions else "fp32",
        )


@dataclass(frozen=True)
class RunRequest:
    """How many images, in which batches, and which images to keep."""

    limit: int | None = None
    batch_size: int | None = None
    seed: int = 0
    compile: bool = False
    save_adv: str | None = None  # one of specs.SAVE
    expected: tuple[float, float] | None = None  # clean accuracy and its tolerance, in percent


@dataclass(frozen=True)
class AssessmentRequest:
    """The threat to assess networks under; `eps` in image units."""

    norm: str = "linf"
    eps: float | None = None
    quick: bool = False  # a first look, in place of the full assessment


@dataclass(frozen=True)
class DoctorRequest:
    """How a network is examined."""

    surrogates: tuple[str, ...] = ()  # none: two others trained here
    limit: int = 200
    expected: tuple[float, float] | None = None  # clean accuracy and its tolerance, in percent
    eot: int = 1
    seed: int = 0


@dataclass(frozen=True)
class SetRequest:
    """A set of adversarial images to make: the attackers, their surrogates, and the threat."""

    attackers: str | None = None  # a battery's name
    surrogates: tuple[str, ...] = ()  # references, each with an optional =WEIGHT of its logits
    submissions: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    name: str | None = None
    eps: float | None = None
    seed: int | None = None
    targeted: bool | None = None
    targets: str | None = None  # "random", or a CSV file
    time_limit: float | None = None  # seconds a submission has for 100 images
