"""Several surrogate networks as one, and the objective that attackers maximise on them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fdbench.attacks.differentiation import input_gradient
from fdbench.attacks.losses import Loss, cross_entropy
from fdbench.errors import BadValue, FdbenchError
from fdbench.randomness import ImageId
from fdbench.specs import Knobs
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels, Logits, Values

View = Callable[[Images], Images]  # transforms what a network sees; differentiable


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Frozen networks, RGB (B, 3, H, W) in [0, 1] at the data's size -> logits, with weights.

    Each network normalises and resizes for itself. Raises BadValue unless each has a positive
    weight.
    """

    nets: tuple[nn.Module, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.nets:
            raise BadValue("a transfer attack needs at least one --surrogate.")
        if len(self.weights) != len(self.nets):
            raise BadValue(f"{len(self.nets)} surrogates have {len(self.weights)} weights.")
        if not all(0 < weight < float("inf") for weight in self.weights):
            raise BadValue(f"weights of surrogates must be greater than 0: {self.weights}.")

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights, scaled to sum to 1."""
        return tuple(weight / sum(self.weights) for weight in self.weights)

    def logits(self, x: Images) -> list[Logits]:
        """Returns each network's logits. Raises FdbenchError if the numbers of classes differ."""
        outputs = [net(x) for net in self.nets]
        classes = [logits.shape[1] for logits in outputs]
        if len(set(classes)) > 1:
            raise FdbenchError(
                f"the surrogates know {', '.join(map(str, classes))} classes: their logits can't "
                "be fused.\nGive --surrogate networks with the same classes."
            )
        return outputs

    def fused(self, x: Images) -> Logits:
        """Returns the weighted mean of the logits (Dong et al. 2018, Sec. 3.4)."""
        pairs = zip(self.shares, self.logits(x), strict=True)
        return torch.stack([share * logits for share, logits in pairs]).sum(0)

    @torch.no_grad()
    def predict(self, x: Images) -> Labels:
        """Returns the class that the fused logits predict for each image."""
        return self.fused(x).argmax(1)


def unchanged(x: Images) -> Images:
    """Returns the image itself: the identity view."""
    return x


def logit(logits: Logits, label: Labels, target: Labels | None) -> Values:
    """The target's logit, or minus the label's: it does not fade as the target gets likely.

    Zhao et al. 2021, "On Success and Simplicity: A Second Look at Transferable Targeted Attacks",
    Sec. 3.2.
    """
    if target is None:
        return -logits.gather(1, label[:, None])[:, 0]
    return logits.gather(1, target[:, None])[:, 0]


_LOSSES: dict[str, Loss] = {"ce": cross_entropy, "logit": logit}


@dataclass(frozen=True, eq=False)
class Objective:
    """A loss away from `label`, or towards `target`; summed, so images don't interact."""

    ensemble: Ensemble
    label: Labels
    target: Labels | None
    tick: Callable[[], None]  # called after each forward and backward pass of one network
    loss: Loss = cross_entropy

    @classmethod
    def of(
        cls,
        ensemble: Ensemble,
        batch: Batch,
        target: Labels | None,
        tick: Callable[[], None],
        loss: str = "ce",
    ) -> "Objective":
        """Takes the ensemble's own predictions on the clean images as labels."""
        return cls(ensemble, ensemble.predict(batch.x), target, tick, _LOSSES[loss])

    def gradient(self, x: Images, view: View = unchanged) -> Images:
        """Returns the gradient of the fused logits' loss on a view of `x`: one pass of each net."""
        grad = self._gradient(self.ensemble.fused, x, view)
        for _ in self.ensemble.nets:
            self.tick()
        return grad

    def gradient_of(self, index: int, x: Images, view: View = unchanged) -> Images:
        """Returns the gradient of one network's loss."""
        grad = self._gradient(self.ensemble.nets[index], x, view)
        self.tick()
        return grad

    def _gradient(self, logits: Callable[[Images], Tensor], x: Images, view: View) -> Images:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            loss = self.loss(logits(view(leaf)), self.label, self.target).sum()
            return input_gradient(loss, leaf)


@dataclass(frozen=True, eq=False)
class Task:
    """The input of a method, which never uses `batch.label`: the competition gave none."""

    ensemble: Ensemble
    batch: Batch
    threat: Threat
    knobs: Knobs  # all of the method's
    seed: int
    tick: Callable[[], None]  # called after each forward and backward pass of one network
    target: Labels | None = None  # classes to reach

    @property
    def x(self) -> Images:
        """The clean images."""
        return self.batch.x

    @property
    def ids(self) -> tuple[ImageId, ...]:
        """The image ids, which seed each image's random numbers."""
        return self.batch.ids

    def objective(self) -> Objective:
        """Returns the objective to maximise; queries every network once."""
        loss = self.knobs.get("loss", "ce")
        return Objective.of(self.ensemble, self.batch, self.target, self.tick, loss)
