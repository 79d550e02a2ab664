"""How a process trains: settings that change nothing of what is learnt, but for batch norm."""

from dataclasses import dataclass
from pathlib import Path

from fdbench.console import warn
from fdbench.errors import FdbenchError
from fdbench.machine import is_out_of_memory, release
from fdbench.training.team import KnownToAll, Team


@dataclass
class Course:
    """How this process trains: none of it belongs to a training's settings.

    Attributes:
        team: the processes that train together.
        accumulate: pieces into which each process divides its share of a batch.
        pause: seconds between two saved states.
        log: where the log is written after each epoch, besides the card.
    """

    team: Team
    accumulate: int
    pause: float
    log: Path | None = None

    def halve(self, reason: BaseException, images: int) -> None:
        """Divides further where memory ran out; raises anything else, and where no more can be.

        Several processes do so together, or end: where they had begun to exchange gradients, the
        others wait in the middle of the same step. They can't know.
        """
        world, twice = self.team.world, 2 * self.accumulate
        if not is_out_of_memory(reason) or twice * world > images:
            raise reason
        if world > 1 and not isinstance(reason, KnownToAll):
            raise FdbenchError(
                f"out of memory with a piece of {images // (world * self.accumulate)} images.\n"
                f"The same command with --accumulate {twice} continues from the last saved state."
            ) from reason
        self.accumulate = twice
        release()
        if self.team.leads:
            of = (
                f"{images} images"
                if world == 1
                else f"{images} images, in each of {world} processes,"
            )
            warn(
                f"out of memory: each batch of {of} goes on in {self.accumulate} pieces "
                f"(--accumulate {self.accumulate}); batch norm sees one piece at a time."
            )
