"""N-FGSM: one step from strong noise, never clipped to the ball (de Jorge et al. 2022)."""

from collections.abc import Callable

import torch

from fdbench import randomness
from fdbench.attacks import cross_entropy, gradient
from fdbench.training.adversarial import AdversarialLearner
from fdbench.training.state import Position
from fdbench.types import Batch, Images


class NoisyLearner(AdversarialLearner):
    """Trains on x + noise + alpha * sign(gradient there), noise uniform in +-k eps (Alg. 1).

    Both points are clipped to [0, 1], as in the authors' code. The image may lie (k + 1) eps from
    the clean one: it is for training, and no verdict is taken from it.
    """

    def attacked(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Images:
        """Returns the images to train on."""
        spec, stream = self.spec, self.stream(at)
        self.folded.refresh()
        unit = randomness.uniform(spec.seed, stream, batch.ids, tuple(batch.x.shape[1:]))
        radius = spec.noise * spec.eps
        noise = radius * (2 * torch.from_numpy(unit).to(batch.x.device) - 1)
        start = (batch.x + noise).clamp(0, 1)
        target = self.target(batch, stream)
        grad, _ = gradient(self.folded.net, start, batch.label, target, cross_entropy)
        tick()
        return self.threat.move(start, grad, spec.alpha).clamp(0, 1)
