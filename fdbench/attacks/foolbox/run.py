"""Runs a Foolbox attack on one batch, on the batch's device, within [0, 1] and the ball.

Foolbox draws random numbers from the global generators, for a batch at once. Here these are forked
and seeded by (seed, the batch's first image), so the numbers depend on the batch boundaries only
(contract C3).
"""

import inspect
import math
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from fdbench import randomness
from fdbench.attacks.foolbox.catalogue import FoolboxAttack, check_foolbox, named, package
from fdbench.attacks.protocol import Attack, Reading, Subject, Tick
from fdbench.errors import BadValue
from fdbench.machine import generators_kept
from fdbench.specs import AttackSpec, FoolboxParameters
from fdbench.threat import Threat
from fdbench.types import Images, Labels

_BLENDED = "LinearSearchBlendedUniformNoiseAttack"
# Attacks that walk from a misclassified image to the clean one, and Foolbox's start for each.
_STARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "BoundaryAttack": (_BLENDED, {"steps": 50}),
    "HopSkipJumpAttack": (_BLENDED, {"steps": 50}),
    "PointwiseAttack": ("SaltAndPepperNoiseAttack", {}),
    "L0BrendelBethgeAttack": (_BLENDED, {}),
    "L1BrendelBethgeAttack": (_BLENDED, {}),
    "L2BrendelBethgeAttack": (_BLENDED, {}),
    "LinfinityBrendelBethgeAttack": (_BLENDED, {}),
}
# Knobs that multiply an attack's forward passes.
_PASSES = (
    "steps",
    "binary_search_steps",
    "repeats",
    "population",
    "candidates",
    "initial_gradient_eval_steps",
)


def _selected(spec: AttackSpec) -> tuple[FoolboxAttack, dict[str, Any]]:
    """Returns the attack and its settings; checks them, as a battery's are unchecked."""
    parameters = spec.parameters
    if not isinstance(parameters, FoolboxParameters):
        raise TypeError(f"{spec.attack} is not one of Foolbox's attacks")
    name, settings = str(parameters.name), parameters.settings or {}
    return named(name), check_foolbox(name, settings, spec.norm, spec.targeted)


class _Watched(nn.Module):
    """Ticks at each forward pass of the network while ticks are left."""

    def __init__(self, net: nn.Module, tick: Tick, ticks: int) -> None:
        super().__init__()
        self.net, self.tick, self.left = net, tick, ticks
        self.training = False  # of this wrapper alone: Foolbox warns otherwise

    def forward(self, x: Tensor) -> Tensor:
        if self.left:
            self.left -= 1
            self.tick()
        return self.net(x)

    def finish(self) -> None:
        """Uses up the ticks left: an attack may stop before its last step."""
        if self.left:
            self.tick(float(self.left))
            self.left = 0


@contextmanager
def _own_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds the global generators with `seed`; restores them on exit."""
    plain, numpy = random.getstate(), np.random.get_state()
    with generators_kept(device, seed=seed):
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(numpy)


@contextmanager
def _no_learning(net: nn.Module) -> Iterator[None]:
    """Freezes the parameters: Foolbox's backward passes would add to their gradients."""
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Foolbox's warnings of images without a start: their rows record it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _built(attack: FoolboxAttack, settings: Mapping[str, Any], norm: str) -> Any:
    """Builds the attack object, passing the norm if it supports several."""
    fb = package()
    cls = getattr(fb.attacks, attack.name)
    options = {"constraint": norm, "distance": getattr(fb.distances, norm)}
    accepted = inspect.signature(cls).parameters
    return cls(**settings, **{key: options[key] for key in options if key in accepted})


def _leaves_its_ball(attack: Any) -> bool:
    """Whether an FMN attack's projection leaves points outside, as Foolbox 3.3.4's does in l2."""
    if not type(attack).__name__.endswith("FMNAttack"):
        return False
    tensor = package().attacks.base.ep.astensor
    far, centre = torch.full((1, 3, 2, 2), 9.0), torch.zeros(1, 3, 2, 2)
    projected = attack.project(tensor(far), tensor(centre), tensor(torch.ones(1))).raw
    return bool((projected == far).all())


@dataclass(frozen=True)
class _Starts:
    """Misclassified images to start from; images misclassified when clean need no attack."""

    image: Images
    exists: Bool[Tensor, " B"]
    done: Bool[Tensor, " B"]  # misclassified when clean


@torch.no_grad()
def _starts(model: Any, x: Images, wanted: Labels, targeted: bool, name: str) -> _Starts:
    """Returns Foolbox's own noise, which reaches no target; else an image of the batch.

    That is the first image of the batch that the network classifies as required (Brendel et al.
    2018, Sec. 2.1, for targets).
    """
    same = model(x).argmax(1) == wanted[:, None]  # (B, B): is image j classified as wanted[i]?
    fits = same if targeted else ~same
    start, exists = x[fits.int().argmax(1)], fits.any(1)
    if not targeted:
        fb = package()
        starter, knobs = _STARTS[name]
        noise = getattr(fb.attacks, starter)(**knobs).run(model, x, fb.Misclassification(wanted))
        hit = model(noise).argmax(1) != wanted
        start, exists = torch.where(hit[:, None, None, None], noise, start), exists | hit
    return _Starts(start, exists, fits.diagonal())


def _attacked(
    model: Any, attack: Any, x: Images, wanted: Labels, targeted: bool, eps: float | None
) -> tuple[Images, Bool[Tensor, " B"]]:
    """Returns Foolbox's images, clipped by it unless eps is None, and where it gave up."""
    fb = package()
    criterion = fb.TargetedMisclassification if targeted else fb.Misclassification
    name = type(attack).__name__
    if name not in _STARTS:
        return attack(model, x, criterion(wanted), epsilons=eps)[1], torch.zeros_like(wanted).bool()
    starts = _starts(model, x, wanted, targeted, name)
    todo = starts.exists & ~starts.done
    adv = x.clone()
    if todo.any():
        start = starts.image[todo]
        some = criterion(wanted[todo])
        adv[todo] = attack(model, x[todo], some, epsilons=eps, starting_points=start)[1]
    return adv, ~(starts.exists | starts.done)


def _legal(adv: Images, x: Images, threat: Threat) -> Images:
    """Returns `adv` unchanged where it is inside ball and box, else projected."""
    inside = threat.distance(adv, x) <= threat.eps
    inside &= ((adv >= 0) & (adv <= 1)).flatten(1).all(1)
    return torch.where(inside[:, None, None, None], adv, threat.project(adv, x))


class Foolbox(Attack):
    """Any Foolbox attack, judged and recorded like ours (Rauber et al. 2020)."""

    name = "foolbox"
    parameters = FoolboxParameters
    draws = "batch"

    def cost(self, spec: AttackSpec) -> int:
        """Returns roughly the forward passes of a batch; the ticks of `run` add up to it."""
        attack, settings = _selected(spec)
        values = {key: knob.default for key, knob in attack.knobs.items()} | settings
        return 1 + math.prod(values[key] or 1 for key in _PASSES if key in values)

    def warnings(self, spec: AttackSpec, weights: str, classes: int) -> list[str]:
        """Warns of an attack that the installed Foolbox gets wrong."""
        attack, settings = _selected(spec)
        if not _leaves_its_ball(_built(attack, settings, spec.norm)):
            return []
        return [
            f"the installed Foolbox's {attack.name} never projects onto its shrinking ball: its "
            "perturbations stay as long as its first steps, and robust accuracy comes out too "
            "high. DDNAttack and `fdbench attack fast --norm l2` are sound."
        ]

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """Yields one reading, named after the attack.

        Its rows record `gave_up` for images that a decision-based attack had no start for, or that
        came back with NaN: their clean images are judged. Raises BadValue if attack, settings, norm
        and goal don't fit each other.
        """
        attack, settings = _selected(spec)
        x, device = subject.batch.x.contiguous(), subject.batch.x.device
        wanted = subject.batch.label
        if spec.targeted:
            if subject.target is None:
                raise BadValue(f"{attack.name} is targeted: it needs a target for each image.")
            wanted = subject.target
        watched = _Watched(subject.net, subject.tick, self.cost(spec))
        model = package().PyTorchModel(watched, bounds=(0, 1), device=device)
        eps = None if spec.norm == "l0" else spec.eps  # Foolbox can't clip in l0
        seed = randomness.integer(subject.seed, "foolbox", subject.batch.ids[0], 2**32)
        with _own_numbers(seed, device), _no_learning(subject.net), _quiet():
            built = _built(attack, settings, spec.norm)
            adv, gave_up = _attacked(model, built, x, wanted, spec.targeted, eps)
        watched.finish()
        gave_up |= ~adv.isfinite().flatten(1).all(1)
        adv = torch.where(gave_up[:, None, None, None], x, adv.detach())
        adv = _legal(adv, x, subject.threat)
        yield Reading(attack.name, adv, notes={"gave_up": gave_up.tolist()})
