"""Judges adversarial images that were made elsewhere: whether they are what is claimed of them.

A claim is believed if the images are those of the data set, each inside the box and the ball, and
the float32 network is right on as many as was said. Nothing else is: who made them, and how.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from fdbench.data import Claimed, Dataset
from fdbench.evaluation.audit.legality import why_illegal
from fdbench.evaluation.audit.tally import Tally
from fdbench.models import RELATIVE, Model
from fdbench.stats import wilson
from fdbench.store import Check
from fdbench.threat import Threat
from fdbench.types import Batch, Images
from fdbench.verdict import deciding, limit

CLAIM_BATCH = 500  # images
_ROUNDED = 0.005  # points: a claim of two decimals


@dataclass
class _Judged:
    """How many images the network is right on, and how many of its verdicts are nearly ties."""

    clean: int = 0
    robust: int = 0
    ties: int = 0
    seen: int = 0


def check_claim(
    claimed: Claimed,
    model: Model,
    data: Dataset,
    threat: Threat,
    device: torch.device,
    *,
    robust: float | None = None,
    batch_size: int = CLAIM_BATCH,
    tick: Callable[[int], object] = lambda images: None,
) -> list[Check]:
    """Runs every check, in the order shown.

    Args:
        claimed: the images, of the data set's first ones, in its order.
        robust: the robust accuracy that is claimed, in percent; None: none is.
        tick: called with the number of images after each batch.
    """
    count = len(claimed.images)
    box, ball, labels = Tally("box", "images"), Tally("ball", "images"), Tally("labels", "images")
    judged, net = _Judged(), model.net.to(device)
    checks = [_check_images(claimed, data)]
    if checks[0].verdict == "fail":
        return checks
    if claimed.labels is None:
        labels.skip("the images bring none: the data set's are taken")
    for start in range(0, count, batch_size):
        batch = data.fetch(range(start, min(start + batch_size, count))).to(device)
        adv = claimed.images[start : start + batch_size].to(device)
        _look(adv, batch, threat, box, ball)
        if claimed.labels is not None:
            given = claimed.labels[start : start + batch_size].to(device)
            for image, one, other in zip(batch.ids, given, batch.label, strict=True):
                labels.add(bool(one == other), f"image {image}: {int(one)}, not {int(other)}")
        _judge(adv, batch, net, judged)
        tick(len(batch.ids))
    results = [tally.result() for tally in (labels, box, ball)]
    return [*checks, *results, _check_accuracy(judged, robust, results)]


def _check_images(claimed: Claimed, data: Dataset) -> Check:
    count, shape = len(claimed.images), tuple(claimed.images.shape[1:])
    wanted = (3, data.px, data.px)
    text = f"{count} images of {shape[1]} x {shape[2]} pixels; {data.name} has {len(data)}"
    if not 0 < count <= len(data):
        return Check("images", "fail", text)
    if shape != wanted:
        return Check("images", "fail", f"{text} of {data.px} x {data.px}")
    if claimed.labels is not None and len(claimed.labels) != count:
        return Check("images", "fail", f"{count} images, but {len(claimed.labels)} labels")
    return Check("images", "pass", text)


def _look(adv: Images, batch: Batch, threat: Threat, box: Tally, ball: Tally) -> None:
    """Checks the values of each image, and its distance from the clean one."""
    flat = adv.flatten(1)
    legal = ((flat >= 0) & (flat <= 1)).all(1)
    near = threat.distance(adv, batch.x) <= limit(threat)
    for i, image in enumerate(batch.ids):
        inside = bool(legal[i])
        box.add(inside, f"image {image}: values from {flat[i].min():.6g} to {flat[i].max():.6g}")
        fault = "" if near[i] or not inside else why_illegal(adv[i], batch.x[i], threat)
        ball.add(bool(near[i]), f"image {image} {fault or 'is not a number'}")


@torch.no_grad()
def _judge(adv: Images, batch: Batch, net: torch.nn.Module, judged: _Judged) -> None:
    logits = net(adv)
    best = logits.topk(min(2, logits.shape[1]), 1).values
    right = (logits.argmax(1) == batch.label) & logits.isfinite().all(1)
    judged.seen += len(right)
    judged.robust += int(right.sum())
    judged.clean += int((net(batch.x).argmax(1) == batch.label).sum())
    judged.ties += int(((best[:, 0] - best[:, -1]) <= RELATIVE * deciding(logits)).sum())


def _check_accuracy(judged: _Judged, robust: float | None, others: list[Check]) -> Check:
    """Compares the accuracy with the one that is claimed."""
    n = judged.seen
    here, (low, high) = 100 * judged.robust / n, wilson(judged.robust, n)
    text = (
        f"robust {here:.2f} % [{100 * low:.1f}, {100 * high:.1f}], {judged.robust} of {n}; "
        f"clean {100 * judged.clean / n:.2f} %"
    )
    if judged.ties:
        text += f"; {judged.ties} verdicts within rounding of a tie"
    if any(check.verdict == "fail" for check in others):
        return Check("robust accuracy", "fail", f"{text}; not believed, see above")
    give = 100 * judged.ties / n + _ROUNDED
    if robust is not None and abs(here - robust) > give + 1e-9:
        return Check("robust accuracy", "fail", f"{text}; {robust:g} % is claimed")
    return Check("robust accuracy", "pass", text)
