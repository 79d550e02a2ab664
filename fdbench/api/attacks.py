"""Every attack as a function of (net, images, labels): no files, no records (contract C9)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fdbench.attacks import (
    ATTACKS,
    Ensemble,
    NoScratch,
    Subject,
    checked,
    craft,
    draw_targets,
    foolbox_norm,
    parameters_of,
)
from fdbench.data import check_images
from fdbench.errors import BadValue, FdbenchError
from fdbench.evaluation import worst_of
from fdbench.models import accelerate
from fdbench.specs import AttackSpec, AutoAttackParameters, FoolboxParameters, PGDParameters
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels
from fdbench.verdict import Referee, check


def _refuse_unfit(net: nn.Module, x: Images) -> None:
    if net.training:
        raise FdbenchError(
            "the network is in training mode: its answers depend on the batch.\nnet.eval()"
        )
    check_images(x)


@torch.no_grad()
def _classes(net: nn.Module, x: Images) -> int:
    return int(net(x[:1]).shape[1])


def _batch(x: Images, labels: Labels) -> Batch:
    """The images under their positions: random numbers belong to (seed, position)."""
    return Batch(x, labels, tuple(range(len(labels))))


def _ignored(share: float = 1.0) -> None:
    """Nobody watches the progress of a function."""


def run_attack(
    net: nn.Module,
    x: Images,
    labels: Labels,
    spec: AttackSpec,
    *,
    targets: Labels | None = None,
    precision: str = "fp32",
    seed: int = 0,
) -> Images:
    """Adversarial images of any attack: of each image the one that `net` gets most wrong.

    Args:
        net: in inference mode; RGB (B, 3, H, W) in [0, 1] -> logits (B, C).
        x: (B, 3, H, W) in [0, 1].
        labels: (B,) true classes.
        spec: the attack, its threat and its parameters; eps in image units.
        targets: (B,) wanted classes of a targeted attack; None: one random wrong class an image.
        precision: "fp32", "bf16" for gradients of a bfloat16 copy, or "reference" for the network
            as it is. Images and verdicts stay float32.
        seed: of all random numbers; they belong to (seed, position in the batch).

    Returns:
        (B, 3, H, W): like `x`, within the threat; of PGD the iterates of the longest budget.

    Raises:
        BadValue: for settings that contradict each other.
        FdbenchError: if `x` leaves [0, 1] or the network is in training mode.
        IllegalAdversary: if the attack leaves its threat model.
    """
    _refuse_unfit(net, x)
    spec = checked(spec)
    if targets is not None and not spec.targeted:
        raise BadValue("targets are given, but the attack is untargeted: targeted=True.")
    batch, threat, attack = _batch(x, labels), Threat(spec.norm, spec.eps), ATTACKS[spec.attack]
    attack.check(spec)
    classes = _classes(net, x)
    if spec.targeted and targets is None:
        targets = draw_targets(batch, classes, seed)
    fast, _ = accelerate(net, x[:16], precision)
    judge = Referee(net, batch, threat)
    subject = Subject(
        fast, batch, targets, threat, seed, judge, _ignored, classes, NoScratch(), len(labels)
    )
    readings = list(attack.run(subject, spec))
    if len(readings) == 1:  # a single answer needs no verdict
        check(readings[0].adv, x, threat)
        return readings[0].adv
    return list(worst_of(readings, judge, labels, targets).values())[-1].adv


def pgd(
    net: nn.Module,
    x: Images,
    labels: Labels,
    *,
    eps: float,
    iters: int,
    alpha: float | None = None,
    targeted: bool = False,
    targets: Labels | None = None,
    norm: str = "linf",
    loss: str = "ce",
    clean_start: bool = False,
    restarts: int = 1,
    eot: int = 1,
    precision: str = "fp32",
    seed: int = 0,
) -> Images:
    """The last iterate of PGD (Madry et al. 2018; Xie et al. 2019, Sec. 6.1).

    Args:
        net: in inference mode; RGB (B, 3, H, W) in [0, 1] -> logits (B, C).
        x: (B, 3, H, W) in [0, 1].
        labels: (B,) true classes.
        eps: radius in image units.
        iters: gradient steps.
        alpha: step size; None: max(1/255, eps/iters) targeted, eps/4 untargeted.
        targeted: towards `targets`, not away from `labels`.
        targets: (B,) wanted classes; None: one random wrong class an image.
        norm: "linf" or "l2".
        loss: what is climbed: "ce", "margin" or "dlr".
        clean_start: start at `x`, not at a random point of the ball.
        restarts: random starts; of each image the iterate that `net` gets most wrong is returned.
        eot: forward passes whose gradients are averaged, for networks that draw random numbers.
        precision: "fp32", or "bf16" to follow the gradients of a bfloat16 copy; images and steps
            stay float32.
        seed: of starts and targets; they belong to (seed, position in the batch).

    Returns:
        (B, 3, H, W): like `x`, moved by at most `eps`, within [0, 1].

    Raises:
        BadValue: for settings that contradict each other.
        FdbenchError: if `x` leaves [0, 1] or the network is in training mode.
        IllegalAdversary: if the network's gradient is not finite.

    Example:
        >>> adv = fdbench.pgd(net, x, labels, eps=8 / 255, alpha=2 / 255, iters=20)
        >>> bool((adv - x).abs().max() <= 8 / 255 + 1e-6)
        True
    """
    own = PGDParameters(
        iters=(iters,), alpha=alpha, restarts=restarts, loss=loss, random_start=not clean_start,
        eot=eot,
    )  # fmt: skip
    spec = AttackSpec("pgd", norm, eps, targeted, parameters=own)
    return run_attack(net, x, labels, spec, targets=targets, precision=precision, seed=seed)


def autoattack(
    net: nn.Module,
    x: Images,
    labels: Labels,
    *,
    eps: float,
    norm: str = "linf",
    version: str = "standard",
    attacks: Sequence[str] | None = None,
    reference: bool = False,
    seed: int = 0,
) -> Images:
    """AutoAttack: four attacks in a row, each on what the earlier ones left (Croce and Hein 2020).

    Args:
        net: in inference mode; RGB (B, 3, H, W) in [0, 1] -> logits (B, C).
        x: (B, 3, H, W) in [0, 1], attacked as one batch.
        labels: (B,) true classes.
        eps: radius in image units.
        norm: "linf", "l2" or "l1".
        version: "standard", "plus" or "rand".
        attacks: a list of your own instead, such as ["apgd-ce", "square"].
        reference: attack the network as it is, not its BN-folded copy: bit-identical to the
            package's own run.
        seed: the package's; its numbers belong to the batch.

    Returns:
        (B, 3, H, W): adversarial where an attack succeeded, else the clean image.

    Raises:
        BadValue: for an unknown version, attack or norm.
        FdbenchError: if `x` leaves [0, 1] or the network is in training mode.

    Example:
        >>> adv = fdbench.autoattack(net, x, labels, eps=8 / 255, attacks=["apgd-ce"])
    """
    own = AutoAttackParameters(
        version=version if attacks is None else "custom",
        attacks=None if attacks is None else tuple(attacks),
    )
    spec = AttackSpec("autoattack", norm, eps, parameters=own)
    precision = "reference" if reference else "fp32"
    return run_attack(net, x, labels, spec, precision=precision, seed=seed)


def foolbox(
    net: nn.Module,
    x: Images,
    labels: Labels,
    *,
    attack: str,
    eps: float,
    norm: str | None = None,
    targeted: bool = False,
    targets: Labels | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Images:
    """One of Foolbox's attacks, cut off at `eps` (Rauber et al. 2020).

    Args:
        net: in inference mode; RGB (B, 3, H, W) in [0, 1] -> logits (B, C).
        x: (B, 3, H, W) in [0, 1], attacked as one batch.
        labels: (B,) true classes.
        attack: its class, such as "L2DeepFoolAttack": `fdbench list attacks --foolbox`.
        eps: radius in image units; in l0 the number of values that may change.
        norm: for attacks that know several; None: the attack's only one.
        targeted: towards `targets`, not away from `labels`.
        targets: (B,) wanted classes; None: one random wrong class an image.
        settings: the attack's own, such as {"steps": 50}.
        seed: its random numbers belong to (seed, batch).

    Returns:
        (B, 3, H, W): like `x`, within the threat; the clean image where the attack gave up.

    Raises:
        BadValue: for an unknown attack, setting or norm.
        FdbenchError: if `x` leaves [0, 1] or the network is in training mode.

    Example:
        >>> adv = fdbench.foolbox(net, x, labels, attack="LinfFastGradientAttack", eps=8 / 255)
    """
    own = FoolboxParameters(name=attack, settings=dict(settings or {}))
    spec = AttackSpec("foolbox", foolbox_norm(attack, norm), eps, targeted, parameters=own)
    return run_attack(net, x, labels, spec, targets=targets, seed=seed)


def transfer(
    surrogates: Sequence[nn.Module],
    x: Images,
    *,
    eps: float,
    method: str = "momentum",
    weights: Sequence[float] | None = None,
    norm: str = "linf",
    targets: Labels | None = None,
    seed: int = 0,
    **knobs: Any,
) -> Images:
    """Adversarial images from surrogates alone, by any transfer method.

    They lead away from what the surrogates together see in the clean image: there are no labels.

    Args:
        surrogates: networks in inference mode, RGB (B, 3, H, W) in [0, 1] -> logits (B, C), all of
            the same classes.
        x: (B, 3, H, W) in [0, 1].
        eps: radius in image units.
        method: "noise", "ifgsm", "momentum", "phases", "smoothed", "generator", "diverse", "scale",
            "variance", "spectrum" or "shuffle".
        weights: of each surrogate's logits; None: equal.
        norm: "linf", or "l2" where the method works in it.
        targets: (B,) classes to reach; None: untargeted.
        seed: random numbers belong to (seed, position in the batch).
        knobs: the method's own, such as iters=20.

    Returns:
        (B, 3, H, W): like `x`, within the threat.

    Raises:
        BadValue: for an unknown method or knob, or a norm or targets that it can't have.
        FdbenchError: if `x` leaves [0, 1], a network is in training mode, or they know different
            classes.

    Example:
        >>> adv = fdbench.transfer([net], x, eps=8 / 255, method="ifgsm", iters=5)
    """
    for net in surrogates:
        _refuse_unfit(net, x)
    ensemble = Ensemble(tuple(surrogates), tuple(weights or (1.0,) * len(surrogates)))
    threat, batch = Threat(norm, eps), _batch(x, torch.zeros(len(x), dtype=torch.int64))
    adv = craft(method, ensemble, batch, threat, knobs, seed=seed, target=targets)
    check(adv, x, threat)
    return adv


def attack(
    name: str,
    net: nn.Module,
    x: Images,
    labels: Labels,
    *,
    eps: float,
    norm: str = "linf",
    targeted: bool = False,
    targets: Labels | None = None,
    seed: int = 0,
    **parameters: Any,
) -> Images:
    """Any attack by its name, also one of another installed package.

    Args:
        name: as `fdbench list attacks` shows it.
        net: in inference mode; RGB (B, 3, H, W) in [0, 1] -> logits (B, C).
        x: (B, 3, H, W) in [0, 1].
        labels: (B,) true classes.
        eps: radius in image units.
        norm: a norm the attack knows.
        targeted: towards `targets`, not away from `labels`.
        targets: (B,) wanted classes; None: one random wrong class an image.
        seed: of all random numbers.
        parameters: the attack's own.

    Returns:
        (B, 3, H, W): like `x`, within the threat.

    Raises:
        BadValue: for an unknown attack or parameter.
        FdbenchError: if `x` leaves [0, 1] or the network is in training mode.

    Example:
        >>> adv = fdbench.attack("pgd", net, x, labels, eps=8 / 255, iters=(5,))
    """
    own = parameters_of(name).of(parameters, f"the parameters of {name}")
    spec = AttackSpec(name, norm, eps, targeted, parameters=own)
    return run_attack(net, x, labels, spec, targets=targets, seed=seed)
