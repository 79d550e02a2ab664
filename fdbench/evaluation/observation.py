"""What an attack's own passes reveal about its network, for the sanity gate (reporting/sanity.py).

Nothing is computed for it but a few comparisons per batch: the gradients, the logits of clean and
of adversarial images are those the attack and its verdicts need anyway.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from fdbench.attacks import margin
from fdbench.errors import NoGradient
from fdbench.evaluation.behaviour import LIMIT
from fdbench.evaluation.readings import Worst
from fdbench.types import Batch, Images, Labels, Logits
from fdbench.verdict import relative_difference

Facts = dict[str, int | float]  # in run.json, `found`: counts of images, and a mean


class Watched(nn.Module):
    """The attacked network; counts its passes, and images without a gradient.

    Looked at in a batch's first backward pass, and only images that it gets right there: where the
    label ranks third, the DLR loss is constant.
    Raises NoGradient where an attack wants a gradient, and the network cuts it.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self._label: Labels | None = None
        self._seen: list[tuple[Tensor, Tensor]] = []  # how many images; how many have no gradient
        self._passes = 0  # images forward, and back where a gradient can follow

    def begin(self, label: Labels) -> None:
        """Forgets the last batch; `label` is the next one's."""
        self._label, self._seen, self._passes = label, [], 0

    def forward(self, x: Images) -> Logits:
        logits: Logits = self.net(x)
        self._passes += len(x) * (2 if x.requires_grad else 1)
        if x.requires_grad and not logits.requires_grad:
            raise NoGradient
        if x.requires_grad and not self._seen:
            look = partial(self._look, self._right(logits.detach()))
            x.register_hook(look)  # type: ignore[no-untyped-call]
        return logits

    def _right(self, logits: Logits) -> Bool[Tensor, " B"]:
        """Whether each image is classified correctly; an attack on a part starts with such."""
        if self._label is None or len(self._label) != len(logits):
            return torch.ones_like(logits[:, 0], dtype=torch.bool)
        return logits.argmax(1) == self._label

    def _look(self, right: Bool[Tensor, " B"], grad: Images) -> None:
        if not self._seen:
            zero = (grad == 0).flatten(1).all(1)
            self._seen.append((right.sum(), (zero & right).sum()))

    def facts(self) -> Facts:
        """How many right images were differentiated, and how many of these have a zero gradient.

        And the attack's passes of one image, forward and backward each counted once.
        """
        return {
            "passes": self._passes,
            "differentiated": sum(int(count) for count, _ in self._seen),
            "zero_gradient": sum(int(zero) for _, zero in self._seen),
        }


@contextmanager
def spied(calls: list[str]) -> Iterator[None]:
    """Records the name of each differentiation inside."""
    kept: dict[str, Callable[..., Any]] = {
        "grad": torch.autograd.grad,
        "backward": torch.autograd.backward,
    }

    def spy(name: str) -> Callable[..., Any]:
        def recording(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return kept[name](*args, **kwargs)

        return recording

    try:
        for name in kept:
            setattr(torch.autograd, name, spy(name))
        yield
    finally:
        for name, function in kept.items():
            setattr(torch.autograd, name, function)


def facts_of(
    batch: Batch, target: Labels | None, clean: Logits, worst: Mapping[str, Worst]
) -> Facts:
    """Whether the attack raised the loss on the images that it moved, and what logits look like.

    The loss is the margin, which does not saturate, of the last reading.
    """
    last = list(worst.values())[-1]
    moved = (last.adv != batch.x).flatten(1).any(1)
    rise = (last.loss - margin(clean, batch.label, target))[moved]
    return {
        "images": len(batch.ids),
        "moved": int(moved.sum()),
        "raised": int((rise > 0).sum()),
        "rise": float(rise.sum()),
        "in_unit_interval": int(((clean >= 0) & (clean <= 1)).all(1).sum()),
        **_indicators(last, batch.label, clean),
    }


def _indicators(last: Worst, label: Labels, clean: Logits) -> Facts:
    """Indicators of failure (attacks/course.py), on the images that stood the attack."""
    if last.course is None:
        return {}
    standing = (last.pred == label) & (clean.argmax(1) == label)
    return {
        "standing": int(standing.sum()),
        "incomplete": int((last.course.incomplete & standing).sum()),
        "disputed": int((last.course.disputed & standing).sum()),
    }


@dataclass(frozen=True)
class Reference:
    """The logits of some images, to be compared with those of a second pass."""

    ids: tuple[int | str, ...]
    logits: Logits

    def differs(self, batch: Batch, logits: Logits) -> bool | None:
        """Whether the network answers otherwise on the same images; None if none are the same.

        Rounding in batches of another size stays below LIMIT.
        """
        same = min(len(self.ids), len(batch.ids))
        if batch.ids[:same] != self.ids[:same]:
            return None
        return relative_difference(logits[:same], self.logits[:same]) > LIMIT
