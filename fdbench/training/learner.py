"""The learner interface of the training loop: a new kind of training is one subclass."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fdbench import randomness
from fdbench.data import Augment, Dataset
from fdbench.errors import BadValue
from fdbench.training.state import Entry, Identity, Position
from fdbench.training.team import ALONE, Team
from fdbench.types import Batch


def shares(count: int, parts: int) -> list[range]:
    """Divides 0 .. count - 1 into consecutive parts whose sizes differ by at most one.

    Raises BadValue if a part would be empty.
    """
    if parts > count:
        raise BadValue(
            f"a batch of {count} images can't be divided into {parts} parts "
            "(processes x --accumulate): give a larger --batch-size."
        )
    ends = [round(count * part / parts) for part in range(parts + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


@dataclass(frozen=True)
class Loader:
    """The batches of every epoch, in an order that depends on seed and epoch alone."""

    data: Dataset
    images: int  # the first ones of the data set
    batch_size: int  # as requested
    seed: int
    stream: str  # names the random numbers that order an epoch
    augment: bool
    replays: int = 1  # steps that each batch is taken for, one after the other

    @property
    def batch(self) -> int:
        """Images per batch: as requested, or all if there are fewer."""
        return min(self.batch_size, self.images)

    @property
    def steps(self) -> int:
        """Steps per epoch; images left over after the last full batch are skipped."""
        return self.images // self.batch * self.replays

    @property
    def seen(self) -> int:
        """Images used per epoch, each as often as it is."""
        return self.steps * self.batch

    def batches(self, epoch: int, step: int = 0) -> Iterator[Batch]:
        """Returns the epoch's batches from `step` on."""
        return self.pieces(epoch, step, ALONE, 1)

    def pieces(self, epoch: int, step: int, team: Team, count: int) -> Iterator[Batch]:
        """Returns this process's share of the epoch's batches from `step` on, each in `count`.

        Two processes with one piece each have the pieces of one process with two.
        """
        order = randomness.permutation(self.seed, f"{self.stream}-{epoch}", self.images)
        parts = shares(self.batch, team.world * count)[team.rank * count :][:count]
        starts = [self.batch * (step // self.replays) for step in range(step, self.steps)]
        chunks = [
            order[start + part.start : start + part.stop].tolist()
            for start in starts
            for part in parts
        ]
        return self.data.stream(chunks, Augment(self.seed, epoch) if self.augment else None)


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
    def average(self) -> nn.Module | None:
        """The moving average of the network's weights, if the training keeps one."""
        return None

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

    def join(self, team: Team) -> None:
        """Prepares to learn with other processes. Raises BadValue if it can't."""
        if team.world > 1:
            raise BadValue("this training takes one process: start it without torchrun.")

    def unsent(self) -> AbstractContextManager[None]:
        """Within it, gradients stay in this process: others follow for the same step."""
        return nullcontext()

    def stepped(self, steps: int) -> None:  # noqa: B027  most have nothing to do
        """Called after the optimiser's step number `steps`, the first of the training being 1."""

    def rests(self, at: Position) -> bool:
        """Returns whether the state may be saved here: nothing else is carried to the next step."""
        return True

    def probe(self) -> Entry:
        """Returns measurements on held-out images, for the epoch's entry in the log."""
        return {}

    def score(self, entry: Entry) -> float | None:
        """Returns the epoch's score; the highest is kept. None keeps the last epoch."""
        return None

    def enough(self, at: Position) -> str | None:
        """Returns why the training should end after the epochs in the log, None to go on."""
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
