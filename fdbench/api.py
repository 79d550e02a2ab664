"""The Python face of fdbench: what the command line does to one network and one batch (C9)."""

from pathlib import Path

import torch
from torch import nn

from fdbench.accelerate import accelerate
from fdbench.attacks.losses import loss_named
from fdbench.attacks.pgd import pgd as trajectory
from fdbench.attacks.pgd import random_start
from fdbench.attacks.targets import draw_targets
from fdbench.data import check_images
from fdbench.errors import FdbenchError
from fdbench.models.load import open_model
from fdbench.specs import AttackSpec
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels
from fdbench.verify import check


def load_model(ref: str, results: Path | str = "results") -> nn.Module:
    """A frozen network: RGB (B, 3, H, W) in [0, 1] -> logits (B, C).

    Args:
        ref: as after --model: a name, a .safetensors file, or module:function.
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

    Random numbers belong to (seed, position in the batch). Raises FdbenchError if `x` leaves
    [0, 1] or the network is in training mode, IllegalAdversary if its gradient is not finite.
    """
    _refuse_unfit(net, x)
    spec = AttackSpec(norm=norm, eps=eps, alpha=alpha, targeted=targeted, iters=(iters,))
    threat = Threat(norm, eps)
    batch = Batch(x, labels, tuple(range(len(labels))))
    if targeted and targets is None:
        targets = draw_targets(batch, _classes(net, x), seed)
    start = x if clean_start else random_start(batch.ids, x, threat, "start-0", seed)
    path = trajectory(
        accelerate(net, x[:16], precision)[0],
        x,
        labels,
        threat,
        budgets=[iters],
        alpha=spec.step(iters),
        start=start,
        target=targets if targeted else None,
        loss=loss_named(loss),
    )
    adv = path.iterates[iters]
    check(adv, x, threat)
    return adv
