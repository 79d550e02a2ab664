"""Training on clean images."""

from collections.abc import Callable

from fdbench.training.network import NetworkLearner
from fdbench.training.state import Position
from fdbench.types import Batch, Images


class CleanLearner(NetworkLearner):
    """The images as they are; selected by clean accuracy."""

    def images(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Images:
        """The batch's own."""
        return batch.x
