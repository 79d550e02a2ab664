"""AutoAttack: four attacks in a row, each on the images still unbroken.

Source: Croce and Hein 2020. The attacks are pyautoattack's, or our own that take the same steps
faster (apgd.py and fab.py in linf and l2, square.py in linf, none with averaged gradients); the
cascade is ours, so that it can be stopped, resumed, judged and watched.

With --reference all attacks are the package's, and the whole run equals its own
`run_standard_evaluation` bit for bit, for the same seed and batch size: each attack's batches are
refilled with the images still unbroken.
"""

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from fdbench import verdict
from fdbench.attacks.ascent import judged_among
from fdbench.attacks.autoattack import apgd, fab, square
from fdbench.attacks.autoattack.cascade import (
    CLASSES,
    NORMS,
    STANDARD,
    Cascade,
    Effort,
    Stage,
    cascade_of,
    reduced,
    stages,
)
from fdbench.attacks.protocol import DRAWS, Attack, Reading, Subject, Tick
from fdbench.errors import unknown
from fdbench.machine import accelerators, generators_kept
from fdbench.specs import AttackSpec, AutoAttackParameters
from fdbench.threat import Threat
from fdbench.types import Images, Labels, Net

_UNBROKEN, _CLEAN = -1, 0  # codes in the scratch; the attack of stage k has code k + 1

# Takes the attacks' complaints about single zero gradients, which name no image. Not a child of the
# root logger, so nothing is printed: `fdbench doctor` checks whether gradients can be trusted.
_SILENT = logging.Logger("autoattack")
_SILENT.addHandler(logging.NullHandler())


def _cascade(spec: AttackSpec) -> Cascade:
    """The cascade of an AutoAttack spec."""
    if not isinstance(spec.parameters, AutoAttackParameters):
        raise TypeError(f"{spec.attack} is not AutoAttack")
    return cascade_of(spec.parameters)


@contextmanager
def untouched(net: nn.Module, seed: int) -> Iterator[None]:
    """Freezes `net` and seeds every global generator with `seed`; restores all on exit.

    The package reseeds torch's global generators, draws from them, and accumulates gradients in
    parameters. A network that draws random numbers draws the same in every run.
    """
    thawed = [p for p in net.parameters() if p.requires_grad]
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with generators_kept(*accelerators()), torch.no_grad():
            for parameter in thawed:
                parameter.requires_grad_(False)
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
    finally:
        for parameter in thawed:
            parameter.requires_grad_(True)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _attacker(stage: Stage, net: Net, threat: Threat, seed: int, device: torch.device) -> Any:
    """Returns the package's object for a stage; its `perturb` takes images and labels."""
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack

    apgd = {
        "n_iter": stage.effort.iters,
        "eot_iter": stage.eot,
        "use_largereps": stage.shrinking,
        "logger": _SILENT,
    }
    fab = {"n_iter": stage.effort.iters, "n_target_classes": stage.targets}
    table: dict[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
        "apgd-ce": (APGDAttack, {"loss": "ce", **apgd}),
        "apgd-dlr": (APGDAttack, {"loss": "dlr", **apgd}),
        "apgd-t": (APGDAttack_targeted, {"n_target_classes": stage.targets, **apgd}),
        "fab": (FABAttack_PT, {"targeted": False, **fab}),
        "fab-t": (FABAttack_PT, {"targeted": True, **fab}),
        "square": (SquareAttack, {"n_queries": stage.effort.queries, "resc_schedule": False}),
    }
    make, knobs = table[stage.attack]
    return make(
        net,
        norm=NORMS[threat.norm],
        eps=threat.eps,
        n_restarts=stage.restarts,
        seed=seed,
        device=device,
        **knobs,
    )


def _legal(adv: Images, x: Images, threat: Threat) -> Images:
    """Clamps `adv` to the box, and projects it where verify would reject it."""
    adv = adv.clamp(0, 1)
    outside = threat.distance(adv, x) > verdict.limit(threat)
    if not outside.any():
        return adv
    inner = replace(threat, eps=threat.eps * (1 - verdict.ROUNDING))
    return torch.where(outside[:, None, None, None], inner.project(adv, x), adv)


def _by_package(
    stage: Stage, net: Net, x: Images, label: Labels, threat: Threat, seed: int
) -> Images:
    adv: Tensor = _attacker(stage, net, threat, seed, x.device).perturb(x, label)
    return _legal(adv.detach(), x, threat)


def _attacked(
    stage: Stage, net: Net, subject: Subject, x: Images, at: Int64[Tensor, " B"]
) -> Images:
    """What a stage makes of the images at some positions of the batch.

    By our own attacks where they take the package's steps.
    """
    label, threat, seed = subject.batch.label[at], subject.threat, subject.seed
    effort, targets = stage.effort, stage.targets
    judge = judged_among(subject.judge, at)
    if subject.reference:
        return _by_package(stage, net, x, label, threat, seed)
    if stage.attack == "fab-t" and stage.restarts == 1 and threat.norm in fab.NORMS:
        return fab.fab_targeted(
            net, x, label, threat, iters=effort.iters, targets=targets, most=subject.most
        )
    if stage.attack in apgd.LOSSES and stage.eot == 1 and threat.norm in apgd.NORMS:
        return apgd.auto_pgd(
            net, x, label, threat, attack=stage.attack, iters=effort.iters,
            restarts=stage.restarts, targets=targets, judge=judge,
        )  # fmt: skip
    if stage.attack == "square" and threat.norm in square.NORMS:
        return square.square_attack(net, x, label, threat, queries=effort.queries, judge=judge)
    return _by_package(stage, net, x, label, threat, seed)


def square_alone(
    net: nn.Module, x: Images, label: Labels, threat: Threat, seed: int, queries: int
) -> Images:
    """Runs the package's Square Attack alone: black box, no gradients.

    Images that it could not break, or that were misclassified before, are returned unchanged.
    Source: Andriushchenko et al. 2020.
    """
    if threat.norm not in NORMS:
        raise unknown("norm of Square Attack", threat.norm, NORMS)
    stage = Stage("square", Effort(queries=queries))
    with untouched(net, seed):
        return _by_package(stage, net, x.contiguous(), label, threat, seed)


@dataclass(frozen=True)
class _State:
    """Progress: the images so far, what broke each, the stage, and the images it has left.

    `pred` has the judge's latest verdict on each image. `right` counts, for a network that draws
    random numbers, the right ones of DRAWS verdicts under the attack that leaves fewest.
    """

    adv: Images
    pred: Labels
    right: Labels
    broken_by: Int64[Tensor, " B"]
    stage: int
    left: Int64[Tensor, " L"]  # indices of the images the stage has yet to attack


def _unbroken(broken_by: Int64[Tensor, " B"]) -> Int64[Tensor, " L"]:
    return (broken_by == _UNBROKEN).nonzero()[:, 0]


class _Progress:
    """Spreads the rest of a progress bar over the remaining passes.

    Images leave as they break, so far fewer passes remain than were planned: an estimate from the
    plan would be hours too long.
    """

    def __init__(self, plan: Sequence[Stage], tick: Tick) -> None:
        self._plan, self._tick = plan, tick
        self._left = float(sum(stage.cost for stage in plan))

    def finish(self) -> None:
        """Fills the bar: some attacks take fewer passes than the package's."""
        self._tick(self._left, "")
        self._left = 0.0

    def watch(self, net: nn.Module, state: _State) -> Callable[[Tensor], Tensor]:
        """Returns `net` wrapped to tick at each forward pass; `state` gives the remaining work."""
        stage, *later = self._plan[state.stage :]
        ahead = sum(other.cost for other in later) * len(_unbroken(state.broken_by))
        worth = self._left / (stage.cost * len(state.left) + ahead)
        name = f"{stage.attack} ({state.stage + 1} of {len(self._plan)})"

        def forward(x: Tensor) -> Tensor:
            logits: Tensor = net(x)
            cost = 2 if logits.requires_grad else 1  # as in Stage.cost
            done = min(self._left, worth * len(x) * cost)
            self._left -= done
            self._tick(done, name)
            return logits

        return forward


def _begin(subject: Subject, x: Images) -> _State:
    """Returns the batch's saved state; else its clean images, misclassified ones as broken."""
    kept = subject.scratch.load()
    if kept is not None and "right" in kept:
        names = ("adv", "pred", "right", "broken_by", "left")
        return _State(stage=int(kept["stage"]), **{name: kept[name].to(x.device) for name in names})
    label = subject.batch.label
    with untouched(subject.net, subject.seed):
        pred = subject.judge(x, torch.arange(len(x), device=x.device))
    broken_by = torch.where(pred != label, _CLEAN, _UNBROKEN)
    right = torch.where(pred != label, 0, DRAWS)  # images wrong when clean are not attacked
    return _State(x.clone(), pred, right, broken_by, 0, _unbroken(broken_by))


def _after(
    state: _State, stage: Stage, subject: Subject, x: Images, net: Callable[[Tensor], Tensor]
) -> _State:
    """Attacks one more batch; images leave if attacked network and judge both misclassify them.

    Of a network that draws random numbers, attacked with averaged gradients, the judge's one draw
    decides, as in the package: to ask for two wrong draws would overestimate robust accuracy.
    """
    left, later = state.left[: subject.most], state.left[subject.most :]
    label = subject.batch.label[left]
    with untouched(subject.net, subject.seed):
        attacked = _attacked(stage, net, subject, x[left], left)
        # Both see the attack's whole batch: at another batch size a convolution may round
        # differently and flip a verdict on the boundary.
        own, judged = net(attacked).argmax(1), subject.judge(attacked, left)
        others = [subject.judge(attacked, left) for _ in range(DRAWS - 1 if stage.eot > 1 else 0)]
    wrong = judged != label if stage.eot > 1 else (own != label) & (judged != label)
    adv, pred, broken_by = state.adv.clone(), state.pred.clone(), state.broken_by.clone()
    adv[left[wrong]], pred[left[wrong]] = attacked[wrong], judged[wrong]
    broken_by[left[wrong]] = state.stage + 1
    right = state.right.clone()
    if others:
        right[left] = torch.minimum(right[left], (torch.stack([judged, *others]) == label).sum(0))
    if len(later):
        return _State(adv, pred, right, broken_by, state.stage, later)
    return _State(adv, pred, right, broken_by, state.stage + 1, _unbroken(broken_by))


def run_stages(subject: Subject, plan: Sequence[Stage]) -> Reading:
    """Runs the stages of a plan; saves the state to the scratch after each batch."""
    x = subject.batch.x.contiguous()  # the package's attacks flatten images with `view`
    state = _begin(subject, x)
    progress = _Progress(plan, subject.tick)
    while state.stage < len(plan) and len(state.left):
        net = progress.watch(subject.net, state)
        state = _after(state, plan[state.stage], subject, x, net)
        subject.scratch.save(
            {
                "adv": state.adv,
                "pred": state.pred,
                "right": state.right,
                "broken_by": state.broken_by,
                "stage": torch.tensor(state.stage),
                "left": state.left,
            }
        )
    progress.finish()
    names = ["clean", *(stage.attack for stage in plan)]
    broken_by = [None if code == _UNBROKEN else names[code] for code in state.broken_by.tolist()]
    pred, right = (state.pred, state.right) if plan[0].eot > 1 else (None, None)
    notes = {"broken_by": broken_by}
    return Reading("autoattack", state.adv, notes=notes, pred=pred, right=right)


class AutoAttack(Attack):
    """AutoAttack: four attacks in a row, each on the images still unbroken."""

    name = "autoattack"
    parameters = AutoAttackParameters
    draws = "batch"
    reference_draws = "run"  # as the package's own run, which fills batches with survivors
    gradients_per_pass = 0.5
    drops_broken = True

    def cost(self, spec: AttackSpec) -> int:
        """Returns the most forward passes per image; a gradient counts as two."""
        return sum(stage.cost for stage in stages(_cascade(spec), spec.norm, CLASSES))

    def warnings(self, spec: AttackSpec, weights: str, classes: int) -> list[str]:
        """Names the attacks left out because the network has too few classes.

        Raises BadValue if none remains.
        """
        left_out = reduced(_cascade(spec), classes)[1]
        return [left_out] if left_out else []

    def run(self, subject: Subject, spec: AttackSpec) -> Iterator[Reading]:
        """Yields one reading, "autoattack", with the name of the attack that broke each image.

        `broken_by` is "clean" if the image was misclassified before any attack, None if no attack
        broke it. A network that draws random numbers needs the version rand.
        """
        cascade, _ = reduced(_cascade(spec), subject.classes)
        yield run_stages(subject, stages(cascade, spec.norm, subject.classes, STANDARD))
