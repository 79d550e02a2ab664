"""What the training loop asks of a learner; a new kind of training is one subclass of `Learner`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fdbench import randomness
from fdbench.data import Augment, Dataset
from fdbench.training.state import Entry, Identity, Position
from fdbench.types import Batch


@dataclass(frozen=True)
class Loader:
    """The batches of every epoch, in an order that depends on seed and epoch alone."""

    data: Dataset
    images: int  # the first ones of the data set
    batch_size: int  # as asked for
    seed: int
    stream: str  # names the random numbers that order an epoch
    augment: bool

    @property
    def batch(self) -> int:
        """Images in a batch: as asked for, or all there are."""
        return min(self.batch_size, self.images)

    @property
    def steps(self) -> int:
        """Batches in an epoch. What is left over after the last full one waits for the next."""
        return self.images // self.batch

    @property
    def seen(self) -> int:
        """Images learnt from in an epoch."""
        return self.steps * self.batch

    def batches(self, epoch: int, step: int = 0) -> Iterator[Batch]:
        """The epoch from batch `step` on."""
        order = randomness.permutation(self.seed, f"{self.stream}-{epoch}", self.images)
        left = order[step * self.batch : self.seen].tolist()
        augment = Augment(self.seed, epoch) if self.augment else None
        return self.data.batches(left, self.batch, augment)


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a batch gives: the loss to descend, and counts over its images for the log."""

    loss: Tensor  # the mean over the batch
    counts: Mapping[str, Tensor]  # read after the step, so that a GPU need not be waited for before


class Learner(ABC):
    """One training: a network, its loss, its images, and the files it leaves.

    Everything random in it depends on the seed, the epoch, the batch's number and the image's id,
    so that a training that was stopped continues bit-identically. Network and optimiser are made
    when first asked for: a training that is finished needs neither.
    """

    attack_passes: int = 0  # of a batch, each ticked in `loss`; learning itself counts as two
    timed: bool = True  # whether the log says how fast an epoch went
    save_every: float = 60.0  # seconds of work that a kill may cost
    rates: ClassVar[
        Mapping[str, str]
    ] = {}  # a count -> its share of the images, as the log names it
    labels: ClassVar[Mapping[str, str]] = {}  # a share in the log -> what messages call it

    def __init__(
        self,
        name: str,
        *,
        weights: Path,
        state: Path,
        device: torch.device,
        loader: Loader,
        epochs: int,
    ) -> None:
        self.name, self.weights, self.state = name, weights, state
        self.device, self.loader, self.epochs = device, loader, epochs

    @property
    @abstractmethod
    def net(self) -> nn.Module:
        """What learns."""

    @property
    @abstractmethod
    def optimiser(self) -> Optimizer:
        """Over the network's parameters; the loop sets its learning rate before each step."""

    @property
    @abstractmethod
    def identity(self) -> Identity:
        """What must agree for a saved training to be continued, as it looks in JSON."""

    @abstractmethod
    def lr_at(self, progress: float) -> float:
        """The learning rate after a share `progress` of all steps."""

    @abstractmethod
    def loss(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Lesson:
        """The loss of a batch; `tick` is called after each of `attack_passes`."""

    def probe(self) -> Entry:
        """Shares of held-out images, for the epoch's entry in the log."""
        return {}

    def score(self, entry: Entry) -> float | None:
        """By which the best epoch is kept; None where the last one is."""
        return None

    def keep(self, at: Position) -> None:
        """Writes the present weights, the best so far; called only where epochs have a score."""
        raise NotImplementedError

    @abstractmethod
    def finished(self) -> bool:
        """Whether the final weights of this very training are there.

        Raises BadValue for weights of another training under its name.
        """

    @abstractmethod
    def finish(self, at: Position) -> None:
        """Leaves the final weights with their card."""
