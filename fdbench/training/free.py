"""Free adversarial training: the learning pass's own gradient moves the images (Shafahi 2019)."""

from collections.abc import Callable

import torch
from torch import Tensor

from fdbench import randomness
from fdbench.randomness import ImageId
from fdbench.specs import TrainSpec
from fdbench.training.adversarial import AdversarialLearner
from fdbench.training.network import Training
from fdbench.training.state import Position
from fdbench.types import Batch, Images


class FreeLearner(AdversarialLearner):
    """Learns each batch `attack_iters` times; each backward pass moves weights and images.

    Shafahi et al. 2019, Alg. 1, in which the gradients come from the network in training mode. One
    deviation: there a batch begins with the last batch's perturbation, whatever images that was
    made for. Here each image begins at a random point of its ball, so that neither the number of
    processes nor an interruption changes it.
    """

    def __init__(self, training: Training) -> None:
        super().__init__(training)
        self.attack_passes = 0
        self.learning: dict[tuple[ImageId, ...], tuple[Images, Images]] = {}  # clean, and moved
        self.moved: dict[ImageId, Tensor] = {}  # where each image goes on in the next replay

    @staticmethod
    def replays(spec: TrainSpec) -> int:
        """See Alg. 1: m."""
        return spec.attack_iters

    def rests(self, at: Position) -> bool:
        """Between two batches: perturbations live as long as their batch."""
        return at.step % self.spec.attack_iters == 0

    def attacked(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Images:
        """Returns the images where the last replay left them; the first one starts at random."""
        if self.rests(at):
            size = 1 + batch.x[0].numel()
            unit = randomness.uniform(self.spec.seed, self.stream(at), batch.ids, (size,))
            drawn = torch.from_numpy(unit).to(batch.x.device)
            start = self.threat.project(self.threat.start(batch.x, drawn), batch.x)
        else:
            start = torch.stack([self.moved[image] for image in batch.ids])
        adv = start.detach().requires_grad_()
        self.learning[batch.ids] = (batch.x, adv)
        return adv

    def stepped(self, steps: int) -> None:
        """Moves the images along the gradient that the weights have just followed."""
        super().stepped(steps)
        self.moved.clear()
        for ids, (x, adv) in self.learning.items():
            if adv.grad is None:  # memory ran out there: its images are in smaller batches too
                continue
            stepped = self.threat.move(adv.detach(), adv.grad, self.spec.alpha)
            self.moved.update(zip(ids, self.threat.project(stepped, x), strict=True))
        self.learning.clear()
