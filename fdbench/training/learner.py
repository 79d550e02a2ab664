"""The learner interface of the training loop: a new kind of training is one subclass."""

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
    batch_size: int  # as requested
    seed: int
    stream: str  # names the random numbers that order an epoch
    augment: bool

    @property
    def batch(self) -> int:
        """Images per batch: as requested, or all if there are fewer."""
        return min(self.batch_size, self.images)

    @property
    def steps(self) -> int:
        """Batches per epoch; images left over after the last full batch are skipped."""
        return self.images // self.batch

    @property
    def seen(self) -> int:
        """Images used per epoch."""
        return self.steps * self.batch

    def batches(self, epoch: int, step: int = 0) -> Iterator[Batch]:
        """Returns the epoch's batches from `step` on."""
        order = randomness.permutation(self.seed, f"{self.stream}-{epoch}", self.images)
        left = order[step * self.batch : self.seen].tolist()
        augment = Augment(self.seed, epoch) if self.augment else None
        return self.data.batches(left, self.batch, augment)


@dataclass(frozen=True, eq=False)
class Lesson:
    """The loss of a batch, and counts over its images for the log."""

    loss: Tensor  # the mean over the batch
    counts: Mapping[str, Tensor]  # read after the step, so as not to wait for a GPU


class Learner(ABC):
    """One training: its network, loss and images, and the files it writes.

    Its random numbers must depend only on the seed, the epoch, the batch's number and the image's
    id: then an interrupted training resumes bit-identically. Make network and optimiser cached
    properties: a finished training needs neither.
    """

    attack_passes: int = 0  # how often `loss` ticks; the step itself counts as two
    timed: bool = True  # whether the log holds images per second
    save_every: float = 60.0  # seconds of work that a kill may cost
    # a count of `Lesson` -> the name, in the log, of its share of the images
    rates: ClassVar[Mapping[str, str]] = {}
    # a share in the log -> its name in messages
    labels: ClassVar[Mapping[str, str]] = {}

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
        """The network to train."""

    @property
    @abstractmethod
    def optimiser(self) -> Optimizer:
        """Over the network's parameters; the loop sets its learning rate before each step."""

    @property
    @abstractmethod
    def identity(self) -> Identity:
        """The settings that must agree for a saved training to be resumed; see `plain`."""

    @abstractmethod
    def lr_at(self, progress: float) -> float:
        """Returns the learning rate after a share `progress` of all steps."""

    @abstractmethod
    def loss(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Lesson:
        """Returns the loss to minimise; calls `tick` after each of `attack_passes`."""

    def probe(self) -> Entry:
        """Returns measurements on held-out images, for the epoch's entry in the log."""
        return {}

    def score(self, entry: Entry) -> float | None:
        """Returns the epoch's score; the highest is kept. None keeps the last epoch."""
        return None

    def keep(self, at: Position) -> None:
        """Writes the current weights, the best so far. Called only where epochs have a score."""
        raise NotImplementedError

    @abstractmethod
    def finished(self) -> bool:
        """Returns whether the final weights of this training exist.

        Raises BadValue if its name belongs to weights of another training.
        """

    @abstractmethod
    def finish(self, at: Position) -> None:
        """Writes the final weights and their card."""
