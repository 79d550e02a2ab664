"""The learner interface of the training loop: a new kind of training is one subclass."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fdbench.errors import BadValue
from fdbench.training.loader import Loader
from fdbench.training.state import Entry, Identity, Position
from fdbench.training.team import Team
from fdbench.types import Batch


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
    converses: bool = False  # whether the forward pass talks to other processes
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
