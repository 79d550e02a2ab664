"""TRADES: accuracy on clean images, and agreement between them and their neighbours."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fdbench import randomness
from fdbench.attacks import trajectory
from fdbench.training.adversarial import AdversarialLearner
from fdbench.training.learner import Lesson
from fdbench.training.state import Position
from fdbench.types import Batch, Images, Labels, Logits, Values

_START = 0.001  # deviation of the normal noise that the attack starts from (authors' code)


def divergence(logits: Logits, clean: Logits) -> Values:
    """KL(p_clean || p) of each image, from logits."""
    apart = F.kl_div(logits.log_softmax(1), clean.softmax(1), reduction="none")
    return apart.sum(1)


class TradesLearner(AdversarialLearner):
    """Minimises CE(f(x), y) + beta KL(f(x) || f(x')), x' maximising the KL (Zhang et al. 2019).

    Eq. 5, as in the authors' code: the attack runs in inference mode, the two learning passes are
    separate, and gradients flow through both sides of the divergence.
    """

    def attacked(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Images:
        """Returns the images that diverge most from the clean ones."""
        spec = self.spec
        self.folded.refresh()
        with torch.no_grad():
            clean = self.folded.net(batch.x)

        def loss(logits: Logits, label: Labels, target: Labels | None) -> Values:
            return divergence(logits, clean)

        start = batch.x + _START * self._normal(batch, self.stream(at))
        path = trajectory(
            self.folded.net,
            batch.x,
            batch.label,
            self.threat,
            budgets=[spec.attack_iters],
            alpha=spec.alpha,
            start=start,
            loss=loss,
            tick=lambda share=1.0, stage="": tick(),
        )
        return path.iterates[spec.attack_iters]

    def _normal(self, batch: Batch, stream: str) -> Images:
        """Normal noise, from each image's uniform numbers by the inverse distribution function."""
        shape = tuple(batch.x.shape[1:])
        unit = randomness.uniform(self.spec.seed, stream, batch.ids, shape)
        inside = torch.from_numpy(unit).to(batch.x.device) + 2**-25  # never 0: 24 bits
        normal: Tensor = torch.special.ndtri(inside)
        return normal

    def loss(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Lesson:
        """Returns the sum of both terms, and how many clean images are right."""
        if self.begins(at):
            return super().loss(batch, at, tick)
        adv = self.images(batch, at, tick)
        clean, other = self.learnt(batch.x), self.learnt(adv)
        own = F.cross_entropy(clean, batch.label, label_smoothing=self.spec.label_smoothing)
        loss = own + self.spec.beta * divergence(other, clean).mean()
        return Lesson(loss, {"correct": (clean.detach().argmax(1) == batch.label).sum()})
