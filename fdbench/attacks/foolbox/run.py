"""One of Foolbox's attacks on one batch, on the batch's device, within [0, 1] and the ball.

Its attacks draw random numbers from the global generators, for a batch at once: here from forked
ones that start from (seed, the batch's first image), so the batch boundaries count and nothing
else does (contract C3).
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
from fdbench.specs import AttackSpec, FoolboxParameters
from fdbench.threat import Threat
from fdbench.types import Images, Labels

_BLENDED = "LinearSearchBlendedUniformNoiseAttack"
# Attacks that walk from a wrong image towards the clean one, and where Foolbox has each begin.
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


def _asked(spec: AttackSpec) -> tuple[FoolboxAttack, dict[str, Any]]:
    """Which attack, with which settings. A battery's come here unchecked."""
    own = spec.parameters
    if not isinstance(own, FoolboxParameters):
        raise TypeError(f"{spec.attack} is not one of Foolbox's attacks")
    name, settings = str(own.name), own.settings or {}
    return named(name), check_foolbox(name, settings, spec.norm, spec.targeted)


class _Watched(nn.Module):
    """The network, ticking at each forward pass while ticks are left."""

    def __init__(self, net: nn.Module, tick: Tick, ticks: int) -> None:
        super().__init__()
        self.net, self.tick, self.left = net, tick, ticks
        self.training = False  # of this wrapper alone: Foolbox warns where it is not

    def forward(self, x: Tensor) -> Tensor:
        if self.left:
            self.left -= 1
            self.tick()
        return self.net(x)

    def finish(self) -> None:
        """An attack may stop before all its steps."""
        if self.left:
            self.tick(float(self.left))
            self.left = 0


@contextmanager
def _own_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators, started from `seed`; afterwards they are as they were before."""
    cuda = [device] if device.type == "cuda" else []
    plain, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(cuda):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed all GPUs
        for one in cuda:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(numpy)


@contextmanager
def _no_learning(net: nn.Module) -> Iterator[None]:
    """Foolbox's backward passes would add to the gradient of every parameter that wants one."""
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Foolbox warns of images that it finds no start for: they have a field in their rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _built(attack: FoolboxAttack, settings: Mapping[str, Any], norm: str) -> Any:
    """The attack object, told the norm where it has several."""
    fb = package()
    cls = getattr(fb.attacks, attack.name)
    told = {"constraint": norm, "distance": getattr(fb.distances, norm)}
    takes = inspect.signature(cls).parameters
    return cls(**settings, **{key: told[key] for key in told if key in takes})


@dataclass(frozen=True)
class _Starts:
    """Wrong images to begin at; a clean image that is wrong already needs no attack."""

    image: Images
    found: Bool[Tensor, " B"]
    done: Bool[Tensor, " B"]


@torch.no_grad()
def _starts(model: Any, x: Images, wanted: Labels, targeted: bool, name: str) -> _Starts:
    """Foolbox's own noise, which hits no target; else an image of the batch.

    The first image of the batch that the network takes for what is wanted is a start too (Brendel
    et al. 2018, Sec. 2.1, for targets).
    """
    same = model(x).argmax(1) == wanted[:, None]  # (B, B): is image j taken for what i names?
    fits = same if targeted else ~same
    start, found = x[fits.int().argmax(1)], fits.any(1)
    if not targeted:
        fb = package()
        starter, knobs = _STARTS[name]
        noise = getattr(fb.attacks, starter)(**knobs).run(model, x, fb.Misclassification(wanted))
        hit = model(noise).argmax(1) != wanted
        start, found = torch.where(hit[:, None, None, None], noise, start), found | hit
    return _Starts(start, found, fits.diagonal())


def _attacked(
    model: Any, attack: Any, x: Images, wanted: Labels, targeted: bool, eps: float | None
) -> tuple[Images, Bool[Tensor, " B"]]:
    """What Foolbox returns, clipped its way (not at all if eps is None), and where it gave up."""
    fb = package()
    criterion = fb.TargetedMisclassification if targeted else fb.Misclassification
    name = type(attack).__name__
    if name not in _STARTS:
        return attack(model, x, criterion(wanted), epsilons=eps)[1], torch.zeros_like(wanted).bool()
    starts = _starts(model, x, wanted, targeted, name)
    todo = starts.found & ~starts.done
    adv = x.clone()
    if todo.any():
        start = starts.image[todo]
        some = criterion(wanted[todo])
        adv[todo] = attack(model, x[todo], some, epsilons=eps, starting_points=start)[1]
    return adv, ~(starts.found | starts.done)


def _legal(adv: Images, x: Images, threat: Threat) -> Images:
    """`adv` to the last bit where it is in ball and box, else projected."""
    inside = threat.distance(adv, x) <= threat.eps
    inside &= ((adv >= 0) & (adv <= 1)).flatten(1).all(1)
    return torch.where(inside[:, None, None, None], adv, threat.project(adv, x))


class Foolbox(Attack):
    """Any of Foolbox's attacks, judged and recorded like ours (Rauber et al. 2020)."""

    name = "foolbox"
    parameters = FoolboxParameters
    draws = "batch"

    def cost(self, spec: AttackSpec) -> int:
        """About how many forward passes a batch takes; `run` ticks as often, no more."""
        attack, settings = _asked(spec)
        values = {key: knob.default for key, knob in attack.knobs.items()} | settings
        return 1 + math.prod(values[key] or 1 for key in _PASSES if key in values)

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """One reading, named by the attack.

        Its rows say `gave_up` of images that a decision-based attack had no start for, or that came
        back with NaN: they are judged clean. Raises BadValue if the attack, its settings, its norm
        and its goal don't fit.
        """
        attack, settings = _asked(spec)
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
