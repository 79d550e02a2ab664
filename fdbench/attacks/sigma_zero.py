"""sigma-zero: the fewest values of an image whose change fools the network (l0).

Source: Cina et al. 2025, "sigma-zero: Gradient-based optimization of l0-norm adversarial examples",
Sec. 3 and Algorithm 1, with Adam as in its authors' experiments. Where the network is right, steps
lower the margin, and everywhere a smooth count of changed values. Changes smaller than a threshold
are dropped; it rises while the network is wrong and falls while it is right.

The search does not depend on the radius: one trajectory serves all of them, and an image leaves
once it is broken at the smallest.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from fdbench.attacks.course import Course
from fdbench.attacks.losses import margin
from fdbench.attacks.pgd import gradient
from fdbench.attacks.protocol import Reading, Subject
from fdbench.attacks.several_radii import SeveralRadii
from fdbench.specs import AttackSpec, SigmaZeroParameters
from fdbench.types import Images, Labels, Logits, Values

# The paper's settings (Sec. 4.1), in image units.
_STEP = 1.0  # of Adam; falls to a tenth along half a cosine
_SMOOTH = 1e-3  # sigma: a change of its root counts as half a value
_THRESHOLD = 0.3  # of the first iteration
_RATE = 0.01  # the threshold's change, in steps
_MEANS = (0.9, 0.999)  # Adam's decay rates
_TRIAL = 100  # iterations that show whether a precision weakens the attack

PerImage = Float32[Tensor, "B 1 1 1"]


def _parameters_of(spec: AttackSpec) -> SigmaZeroParameters:
    if not isinstance(spec.parameters, SigmaZeroParameters):
        raise TypeError(f"{spec.attack} is not sigma-zero")
    return spec.parameters


def _until_wrong(logits: Logits, label: Labels, target: Labels | None) -> Values:
    """The margin of images that are right; zero of the others."""
    return margin(logits, label, target).clamp(max=0)


@dataclass
class _Search:
    """The images that are still searched, with Adam's means and the threshold of each."""

    index: Labels  # positions in the batch
    label: Labels
    x: Images
    adv: Images
    mean: Images
    square: Images
    threshold: PerImage

    @classmethod
    def of(cls, x: Images, label: Labels, index: Int64[Tensor, " L"]) -> "_Search":
        """The images at some positions, unchanged."""
        zeros, some = torch.zeros_like(x[index]), x[index]
        threshold = torch.full_like(some[:, :1, :1, :1], _THRESHOLD)
        return cls(index, label[index], some, some, zeros, zeros, threshold)

    @property
    def changed(self) -> Labels:
        """How many values of each image differ from the clean ones."""
        return (self.adv != self.x).flatten(1).sum(1)

    def take(self, stays: Bool[Tensor, " B"]) -> "_Search":
        """The images that stay."""
        return _Search(*(getattr(self, one.name)[stays] for one in fields(self)))

    def move(self, grad: Images, wrong: Bool[Tensor, " B"], step: int, iters: int) -> None:
        """One iteration, from the gradient of the margin of images that are right."""
        delta = self.adv - self.x
        count = 2 * _SMOOTH * delta / (delta.square() + _SMOOTH).square() / delta[0].numel()
        down = count - grad
        down = down / down.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
        size = _STEP * (0.55 + 0.45 * math.cos(math.pi * step / iters))
        self.mean = self.mean.lerp(down, 1 - _MEANS[0])
        self.square = self.square.lerp(down.square(), 1 - _MEANS[1])
        mean, square = (
            kept / (1 - rate ** (step + 1))
            for kept, rate in zip((self.mean, self.square), _MEANS, strict=True)
        )
        moved = (self.adv - size * mean / (square.sqrt() + 1e-8)).clamp(0, 1)
        rises = torch.where(wrong, _RATE * size, -_RATE * size)[:, None, None, None]
        self.threshold = (self.threshold + rises).clamp(0, 1)
        self.adv = torch.where((moved - self.x).abs() < self.threshold, self.x, moved)


@dataclass
class _Found:
    """What the search has come to, by radius in ascending order."""

    radii: tuple[float, ...]
    adv: list[Images]
    passes: list[Labels]
    unbroken: Labels  # how many radii withstand, the smallest first
    disputed: Bool[Tensor, " B"]
    limits: Labels = field(init=False)  # 0, and the radii

    def __post_init__(self) -> None:
        whole = [0, *(int(radius) for radius in self.radii)]
        self.limits = torch.tensor(whole, device=self.unbroken.device)

    @classmethod
    def of(cls, x: Images, label: Labels, radii: tuple[float, ...]) -> "_Found":
        """Nothing found yet."""
        none = torch.zeros_like(label)
        copies, counts = [x.clone() for _ in radii], [none.clone() for _ in radii]
        return cls(radii, copies, counts, none + len(radii), none > 0)

    def spend(self, at: Labels, passes: int) -> None:
        """Counts passes on some images, at the largest radius that each withstands so far."""
        for number, spent in enumerate(self.passes):
            spent[at[self.unbroken[at] == number + 1]] += passes

    def record(self, search: _Search, wrong: Bool[Tensor, " B"], subject: Subject) -> None:
        """Takes what the judge finds wrong too, at every radius that it fits in."""
        changed = search.changed
        fits = wrong & (changed <= self.limits[self.unbroken[search.index]])
        some = fits.nonzero()[:, 0]
        if not len(some):
            return
        at, adv, changed = search.index[some], search.adv[some], changed[some]
        self.spend(at, 1)
        broken = subject.judge(adv, at) != search.label[some]
        self.disputed[at[~broken]] = True
        for number, radius in enumerate(self.radii):
            new = broken & (changed <= radius) & (self.unbroken[at] > number)
            self.adv[number][at[new]] = adv[new]
        smaller = (changed[:, None] > self.limits[None, 1:]).sum(1)
        self.unbroken[at[broken]] = torch.minimum(self.unbroken[at], smaller)[broken]


class SigmaZero(SeveralRadii):
    """The first change of few enough values that fools the judge, at each radius."""

    name = "sigma-zero"
    parameters = SigmaZeroParameters
    drops_broken = True

    def cost(self, spec: AttackSpec) -> int:
        """Returns the passes of an image that does not break at the smallest radius."""
        return _parameters_of(spec).iters + 1

    def trial(self, spec: AttackSpec) -> AttackSpec:
        """Returns at most a hundred iterations at one radius."""
        return spec.with_parameters(iters=min(_parameters_of(spec).iters, _TRIAL), radii=None)

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """Yields one reading, "sigma-zero", with the passes spent at the spec's radius."""
        radii = _parameters_of(spec).radii
        if radii:
            yield self.one_of(subject, spec, radii)
        else:
            yield self.readings(subject, spec, (spec.eps,))[spec.eps]

    def readings(
        self, subject: Subject, spec: AttackSpec, radii: tuple[float, ...]
    ) -> dict[float, Reading]:
        """Searches once, until an image is broken at the smallest radius."""
        found = _searched(subject, radii, _parameters_of(spec).iters)
        course = Course.of(subject.batch.label, 1)  # of a search, whose losses rise and fall
        course.disputed[:] = found.disputed
        return {
            radius: Reading(self.name, adv, notes={"passes": passes.tolist()}, course=course)
            for radius, adv, passes in zip(radii, found.adv, found.passes, strict=True)
        }


def _searched(subject: Subject, radii: tuple[float, ...], iters: int) -> _Found:
    batch = subject.batch
    found = _Found.of(batch.x, batch.label, radii)
    everything = torch.arange(len(batch.ids), device=batch.x.device)
    found.spend(everything, 1)
    right = subject.judge(batch.x, everything) == batch.label
    found.unbroken[~right] = 0
    search = _Search.of(batch.x, batch.label, everything[right])
    for step in range(iters + 1):
        if not len(search.index):
            break
        grad, logits = gradient(subject.net, search.adv, search.label, None, _until_wrong)
        subject.tick(len(search.index) / len(batch.ids))
        found.spend(search.index, 2)
        wrong = logits.argmax(1) != search.label
        found.record(search, wrong, subject)
        search.move(grad, wrong, step, iters)
        search = search.take(found.unbroken[search.index] > 0)
    return found
