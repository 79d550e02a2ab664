"""Every attack as a function of (net, images, labels): no files, no records (contract C9)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fdbench.api import inputs
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
from fdbench.errors import BadValue
from fdbench.evaluation import Watched, worst_of
from fdbench.models import accelerate
from fdbench.specs import AttackSpec, AutoAttackParameters, FoolboxParameters, PGDParameters
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels
from fdbench.units import check_size
from fdbench.verdict import Referee, check


def _batch(x: Images, labels: Labels) -> Batch:
    """Returns the images with their positions as ids: random numbers depend on (seed, position)."""
    return Batch(x, labels, tuple(range(len(labels))))


def _ignored(share: float = 1.0, stage: str = "") -> None:
    """Ignores progress: a function call shows none."""


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
    """Runs any attack and returns, for each image, the reading that `net` gets most wrong.

    Args:
        net: in inference mode; RGB (B, 3, H, W) in [0, 1] -> logits (B, C).
        x: (B, 3, H, W), float32 in [0, 1].
        labels: (B,) true classes, int64.
        spec: the attack, its threat and its parameters; eps in image units.
        targets: (B,) classes to reach if targeted; None: a random wrong class per image.
        precision: "fp32", "bf16" for gradients of a bfloat16 copy, or "reference" for the network
            as it is. Images and verdicts stay float32.
        seed: seed of all random numbers, which depend on (seed, position in the batch).

    Returns:
        (B, 3, H, W) like `x`, within the threat; for PGD, the iterates of the longest budget.

    Raises:
        BadValue: if settings contradict each other.
        FdbenchError: if `x` leaves [0, 1] or the network is in training mode.
        NoGradient: if the attack needs a gradient, and the network cuts it.
        IllegalAdversary: if the attack leaves its threat model.
    """
    classes = inputs.fit(net, x)
    inputs.labels(labels, x, classes)
    spec = checked(spec)
    if targets is not None and not spec.targeted:
        raise BadValue("targets are given, but the attack is untargeted: targeted=True.")
    batch, threat, attack = _batch(x, labels), Threat(spec.norm, spec.eps), ATTACKS[spec.attack]
    attack.check(spec)
    if targets is not None:
        inputs.labels(targets, x, classes, "targets")
    if spec.targeted and targets is None:
        targets = draw_targets(batch, classes, seed)
    fast, _ = accelerate(net, x[:16], precision)
    judge = Referee(net, batch, threat)
    subject = Subject(
        Watched(fast), batch, targets, threat, seed, judge, _ignored, classes, NoScratch(),
        len(labels), reference=precision == "reference",
    )  # fmt: skip
    readings = list(attack.run(subject, spec))
    if len(readings) == 1:  # a single reading needs no verdict
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
    """Returns the last iterate of PGD (Madry et al. 2018; Xie et al. 2019, Sec. 6.1).

    Args:
        net: in inference mode; RGB (B, 3, H, W) in [0, 1] -> logits (B, C).
        x: (B, 3, H, W), float32 in [0, 1].
        labels: (B,) true classes, int64.
        eps: radius in image units.
        iters: number of gradient steps.
        alpha: step size in image units; None: max(1/255, eps/iters) targeted, eps/4 untargeted.
        targeted: attack towards `targets` instead of away from `labels`.
        targets: (B,) classes to reach; None: a random wrong class per image.
        norm: "linf" or "l2".
        loss: loss to maximise: "ce", "margin" or "dlr".
        clean_start: start at `x`, not at a random point of the ball.
        restarts: number of random starts; the worst iterate per image is returned.
        eot: forward passes to average gradients over, for networks that draw random numbers.
        precision: "fp32", or "bf16" for gradients of a bfloat16 copy; images and steps stay
            float32.
        seed: seed of starts and targets, which depend on (seed, position in the batch).

    Returns:
        (B, 3, H, W) like `x`, within `eps` of it and within [0, 1].

    Raises:
        BadValue: if settings contradict each other.
        FdbenchError: if `x` leaves [0, 1] or the network is in training mode.
        IllegalAdversary: if the network's gradient is not finite.

    Example:
        >>> adv = fdbench.pgd(net, x, labels, eps=8 / 255, alpha=2 / 255, iters=20)
        >>> bool((adv - x).abs().max() <= 8 / 255 + 1e-6)
        True
    """
    settings = PGDParameters(
        iters=(iters,), alpha=alpha, restarts=restarts, loss=loss, random_start=not clean_start,
        eot=eot,
    )  # fmt: skip
    spec = AttackSpec("pgd", norm, eps, targeted, parameters=settings)
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
    """Runs AutoAttack: four attacks, each on the earlier ones' survivors (Croce and Hein 2020).

    Args:
        net: in inference mode; RGB (B, 3, H, W) in [0, 1] -> logits (B, C).
        x: (B, 3, H, W), float32 in [0, 1], attacked as one batch.
        labels: (B,) true classes, int64.
        eps: radius in image units.
        norm: "linf", "l2" or "l1".
        version: "standard", "plus" or "rand".
        attacks: custom list instead of a version, such as ["apgd-ce", "square"].
        reference: attack the network as it is, not its BN-folded copy: bit-identical to the
            package's own run.
        seed: the package's seed; random numbers depend on (seed, batch).

    Returns:
        (B, 3, H, W): adversarial where an attack succeeded, else the clean image.

    Raises:
        BadValue: if version, attack or norm is unknown.
        FdbenchError: if `x` leaves [0, 1] or the network is in training mode.
        IllegalAdversary: if the attack leaves its threat model.

    Example:
        >>> adv = fdbench.autoattack(net, x, labels, eps=8 / 255, attacks=["apgd-ce"])
    """
    settings = AutoAttackParameters(
        version=version if attacks is None else "custom",
        attacks=None if attacks is None else tuple(attacks),
    )
    spec = AttackSpec("autoattack", norm, eps, parameters=settings)
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
    """Runs one of Foolbox's attacks, limited to `eps` (Rauber et al. 2020).

    Args:
        net: in inference mode; RGB (B, 3, H, W) in [0, 1] -> logits (B, C).
        x: (B, 3, H, W), float32 in [0, 1], attacked as one batch.
        labels: (B,) true classes, int64.
        attack: a class of `fdbench list attacks --foolbox`, such as "L2DeepFoolAttack".
        eps: radius in image units; in l0, the number of values that may change.
        norm: for attacks that support several; None: the attack's only one.
        targeted: attack towards `targets` instead of away from `labels`.
        targets: (B,) classes to reach; None: a random wrong class per image.
        settings: the attack's arguments, such as {"steps": 50}.
        seed: seed of all random numbers, which depend on (seed, batch).

    Returns:
        (B, 3, H, W) like `x`, within the threat; the clean image where the attack failed.

    Raises:
        BadValue: if attack, setting or norm is unknown.
        FdbenchError: if `x` leaves [0, 1] or the network is in training mode.
        IllegalAdversary: if the attack leaves its threat model.

    Example:
        >>> adv = fdbench.foolbox(net, x, labels, attack="LinfFastGradientAttack", eps=8 / 255)
    """
    chosen = FoolboxParameters(name=attack, settings=dict(settings or {}))
    spec = AttackSpec("foolbox", foolbox_norm(attack, norm), eps, targeted, parameters=chosen)
    return run_attack(net, x, labels, spec, targets=targets, seed=seed)


def transfer(
    surrogates: Sequence[nn.Module],
    x: Images,
    *,
    eps: float,
    method: str = "momentum",
    logit_weights: Sequence[float] | None = None,
    norm: str = "linf",
    targets: Labels | None = None,
    seed: int = 0,
    **knobs: Any,
) -> Images:
    """Runs a transfer method on surrogates, without the victim.

    Untargeted attacks lead away from the ensemble's prediction on the clean image: no labels.

    Args:
        surrogates: networks in inference mode, RGB (B, 3, H, W) in [0, 1] -> logits (B, C), all
            with the same classes.
        x: (B, 3, H, W), float32 in [0, 1].
        eps: radius in image units.
        method: "noise", "ifgsm", "momentum", "phases", "smoothed", "generator", "diverse", "scale",
            "variance", "spectrum", "shuffle" or "mef".
        logit_weights: weight of each surrogate in the mean of logits; None: equal.
        norm: "linf", or "l2" if the method supports it.
        targets: (B,) classes to reach; None: untargeted.
        seed: seed of all random numbers, which depend on (seed, position in the batch).
        knobs: the method's parameters, such as iters=20, step=0.25 (a step's share of eps),
            alpha=2 / 255 (the step itself) or loss="logit" (instead of "ce").

    Returns:
        (B, 3, H, W) like `x`, within the threat.

    Raises:
        BadValue: if method or knob is unknown, or norm or targets are unsupported.
        FdbenchError: if `x` leaves [0, 1], a network is in training mode, or their numbers of
            classes differ.
        IllegalAdversary: if the method leaves its threat model.

    Example:
        >>> adv = fdbench.transfer([net], x, eps=8 / 255, method="ifgsm", iters=5)
    """
    classes = [inputs.fit(net, x) for net in surrogates]
    if targets is not None:
        inputs.labels(targets, x, min(classes), "targets")
    check_size(eps, norm)
    ensemble = Ensemble(tuple(surrogates), tuple(logit_weights or (1.0,) * len(surrogates)))
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
    """Runs any attack by its name, including those of other installed packages.

    Args:
        name: a name of `fdbench list attacks`.
        net: in inference mode; RGB (B, 3, H, W) in [0, 1] -> logits (B, C).
        x: (B, 3, H, W), float32 in [0, 1].
        labels: (B,) true classes, int64.
        eps: radius in image units.
        norm: a norm the attack supports.
        targeted: attack towards `targets` instead of away from `labels`.
        targets: (B,) classes to reach; None: a random wrong class per image.
        seed: seed of all random numbers.
        parameters: the attack's parameters.

    Returns:
        (B, 3, H, W) like `x`, within the threat.

    Raises:
        BadValue: if attack or parameter is unknown.
        FdbenchError: if `x` leaves [0, 1] or the network is in training mode.
        IllegalAdversary: if the attack leaves its threat model.

    Example:
        >>> adv = fdbench.attack("pgd", net, x, labels, eps=8 / 255, iters=(5,))
    """
    settings = parameters_of(name).of(parameters, f"the parameters of {name}")
    spec = AttackSpec(name, norm, eps, targeted, parameters=settings)
    return run_attack(net, x, labels, spec, targets=targets, seed=seed)
