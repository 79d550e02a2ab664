"""The batches of a training, whoever takes which part of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fdbench import randomness
from fdbench.data import Augment, Dataset
from fdbench.errors import BadValue
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
    """The batches of every epoch, in an order that depends on seed and epoch alone.

    An epoch is one pass over the first `images` of the data set. The `extra` ones behind them fill
    a `share` of each batch; they have an endless order of their own, which epochs only interrupt.
    """

    data: Dataset
    images: int  # the first ones of the data set
    batch_size: int  # as requested
    seed: int
    stream: str  # names the random numbers that order an epoch
    augment: bool
    replays: int = 1  # steps that each batch is taken for, one after the other
    extra: int = 0
    share: float = 0.0

    def __post_init__(self) -> None:
        if self.added == self.batch:
            raise BadValue(
                f"an --extra-share of {self.share:g} leaves no training images in a batch of "
                f"{self.batch}."
            )

    @property
    def batch(self) -> int:
        """Images per batch: as requested, or all if there are fewer."""
        return min(self.batch_size, self.images)

    @property
    def added(self) -> int:
        """Extra images per batch."""
        return round(self.share * self.batch)

    @property
    def steps(self) -> int:
        """Steps per epoch; images left over after the last full batch are skipped."""
        return self._batches * self.replays

    @property
    def seen(self) -> int:
        """Images used per epoch, each as often as it is."""
        return self.steps * self.batch

    @property
    def _batches(self) -> int:
        return self.images // (self.batch - self.added)

    def batches(self, epoch: int, step: int = 0) -> Iterator[Batch]:
        """Returns the epoch's batches from `step` on."""
        return self.pieces(epoch, step, ALONE, 1)

    def pieces(self, epoch: int, step: int, team: Team, count: int) -> Iterator[Batch]:
        """Returns this process's share of the epoch's batches from `step` on, each in `count`.

        Two processes with one piece each have the pieces of one process with two.
        """
        order = randomness.permutation(self.seed, f"{self.stream}-{epoch}", self.images)
        parts = shares(self.batch, team.world * count)[team.rank * count :][:count]
        numbers = [number // self.replays for number in range(step, self.steps)]
        batches = {number: self._positions(epoch, number, order) for number in set(numbers)}
        chunks = [batches[number][part.start : part.stop] for number in numbers for part in parts]
        return self.data.stream(chunks, Augment(self.seed, epoch) if self.augment else None)

    def _positions(self, epoch: int, number: int, order: npt.NDArray[np.int64]) -> list[int]:
        """A batch's images, the extra ones spread evenly: each part of it has its share of them."""
        own = self.batch - self.added
        mine = iter(order[number * own :][:own].tolist())
        begin = (epoch * self._batches + number) * self.added
        extra = iter([self._extra(place) for place in range(begin, begin + self.added)])
        turns = [place * self.added // self.batch for place in range(self.batch + 1)]
        return [next(extra if after > turn else mine) for turn, after in pairwise(turns)]

    def _extra(self, place: int) -> int:
        """The position of an extra image, by its place in their endless order."""
        turn, rest = divmod(place, self.extra)
        return self.images + int(_order(self.seed, f"{self.stream}-extra-{turn}", self.extra)[rest])


@lru_cache(maxsize=2)  # a batch may begin in one and end in the next
def _order(seed: int, stream: str, count: int) -> npt.NDArray[np.int64]:
    return randomness.permutation(seed, stream, count)
