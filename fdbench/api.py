"""The Python face of fdbench: what the command line does to one network and one batch (C9)."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from fdbench.attacks import Reading, draw_targets, loss_named, random_start, trajectory
from fdbench.data import check_images
from fdbench.errors import BadValue, FdbenchError
from fdbench.evaluation import worst_of
from fdbench.models import accelerate, open_model
from fdbench.specs import AttackSpec
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels
from fdbench.verdict import Referee, check


def load_model(ref: str, results: Path | str = "results") -> nn.Module:
    """A frozen network: RGB (B, 3, H, W) in [0, 1] -> logits (B, C).

    Args:
        ref: as after --model: a name, a .safetensors file, tv:NAME[:WEIGHTS], timm:NAME,
            defense:DIR or module:function.
        results: where named weights lie, under checkpoints/.

    Raises FdbenchError, or BadValue for a reference that can't be meant.
    """
    return open_model(ref, Path(results)).net


def _refuse_unfit(net: nn.Module, x: Images) -> None:
    if net.training:
        raise FdbenchError(
            "the network is in training mode: its answers depend on the batch.\nnet.eval()"
        )
    check_images(x)


@torch.no_grad()
def _classes(net: nn.Module, x: Images) -> int:
    return int(net(x[:1]).shape[1])


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
    """The last iterate of PGD: like `x`, moved by at most `eps` (image units), within [0, 1].

    Args:
        net: frozen and in inference mode; images in [0, 1] -> logits.
        x: (B, 3, H, W) in [0, 1].
        labels: (B,) true classes.
        alpha: step size; None: max(1/255, eps/iters) targeted, eps/4 untargeted.
        precision: "fp32", or "bf16" to follow the gradients of a bfloat16 copy; images and steps
            stay float32.
        targets: (B,) wanted classes of a targeted attack; None: one random wrong class an image.
        restarts: random starts; of each image the iterate that `net` gets most wrong is returned.
        eot: forward passes whose gradients are averaged, for networks that draw random numbers.

    Random numbers belong to (seed, position in the batch). Raises BadValue for settings that
    contradict each other, FdbenchError if `x` leaves [0, 1] or the network is in training mode,
    IllegalAdversary if its gradient is not finite.
    """
    _refuse_unfit(net, x)
    spec = AttackSpec(
        norm=norm, eps=eps, targeted=targeted, iters=(iters,), alpha=alpha, restarts=restarts,
        loss=loss, random_start=not clean_start, eot=eot,
    )  # fmt: skip
    if targets is not None and not targeted:
        raise BadValue("targets are given, but the attack is untargeted: targeted=True.")
    batch = Batch(x, labels, tuple(range(len(labels))))
    if targeted and targets is None:
        targets = draw_targets(batch, _classes(net, x), seed)
    fast, _ = accelerate(net, x[:16], precision)
    starts = (_last_iterate(fast, batch, targets, spec, seed, i) for i in range(restarts))
    return _worst(net, batch, targets, spec, starts)


def _worst(
    net: nn.Module, batch: Batch, target: Labels | None, spec: AttackSpec, starts: Iterator[Images]
) -> Images:
    """Of each image the most wrong one; a single start needs no verdict."""
    threat = Threat(spec.norm, spec.eps)
    if spec.restarts == 1:
        adv = next(starts)
        check(adv, batch.x, threat)
        return adv
    readings = (Reading("last", adv) for adv in starts)
    return worst_of(readings, Referee(net, batch, threat), batch.label, target)["last"].adv


def _last_iterate(
    net: nn.Module, batch: Batch, target: Labels | None, spec: AttackSpec, seed: int, restart: int
) -> Images:
    (iters,), threat = spec.iters, Threat(spec.norm, spec.eps)
    start = batch.x
    if spec.random_start:
        start = random_start(batch.ids, batch.x, threat, f"start-{restart}", seed)
    path = trajectory(
        net,
        batch.x,
        batch.label,
        threat,
        budgets=[iters],
        alpha=spec.step(iters),
        start=start,
        target=target,
        loss=loss_named(spec.loss),
        eot=spec.eot,
    )
    return path.iterates[iters]
