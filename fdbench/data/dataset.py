"""Dataset: images by position, each with its label and its id (contracts C1, C3, C5)."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fdbench.errors import FdbenchError
from fdbench.randomness import ImageId, permutation
from fdbench.types import Batch, Images, Labels

# split: the part of the files it is taken from. Only "test" uses the test images.
SPLITS = {"train": "train", "held-out": "train", "test": "test"}


@dataclass(frozen=True)
class Augment:
    """Random augmentation; it depends only on the seed, the epoch and the image's id."""

    seed: int
    epoch: int

    @property
    def stream(self) -> str:
        """The name of this epoch's random stream in fdbench.randomness."""
        return f"augment-{self.epoch}"


@dataclass(frozen=True)
class Request:
    """A requested data set; `path` is the part after the colon, None for a plain name."""

    name: str
    split: str
    path: Path | None = None
    data_dir: Path | None = None
    download: bool = False
    px: int | None = None

    @property
    def part(self) -> str:
        """The part of the files that the split is taken from: "train" or "test"."""
        return SPLITS[self.split]


# Positions, their ids, and the augmentation or None -> images in [0, 1].
Reader = Callable[[Sequence[int], Sequence[ImageId], Augment | None], Images]


@dataclass(frozen=True, eq=False)
class Dataset:
    """One split of a data set; images are square, `px` wide, and read on demand.

    `ids` are indices into the part that the split is taken from, or file names without extension.
    `fingerprint` is a SHA-256: of all bytes in order for data in memory, of relative names, sizes
    and labels for files.
    """

    name: str
    split: str
    classes: int
    px: int
    labels: Labels
    ids: tuple[ImageId, ...]
    fingerprint: str
    read: Reader
    class_names: tuple[str, ...] = ()
    ahead: bool = False  # reading is slow: `batches` prefetches one batch while another is in use
    sample: str = "first"  # the order of its images (data/sampling.py): by default their own

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, limit: int | None) -> range:
        """Positions of the first `limit` images in this order, or of all if None."""
        return range(len(self))[:limit]

    def fetch(self, positions: Sequence[int], augment: Augment | None = None) -> Batch:
        """The images at these positions, 0 .. len - 1, in this order."""
        ids = tuple(self.ids[position] for position in positions)
        labels = self.labels[torch.tensor(list(positions), dtype=torch.int64)]
        return Batch(self.read(positions, ids, augment), labels, ids)

    def batches(
        self, positions: Sequence[int], batch_size: int, augment: Augment | None = None
    ) -> Iterator[Batch]:
        """`positions` in consecutive batches; at most two batches are in memory at a time."""
        chunks = [positions[i : i + batch_size] for i in range(0, len(positions), batch_size)]
        return self.stream(chunks, augment)

    def stream(
        self, chunks: Sequence[Sequence[int]], augment: Augment | None = None
    ) -> Iterator[Batch]:
        """One batch for each chunk of positions; at most two batches are in memory at a time."""
        if not (self.ahead and chunks):
            yield from (self.fetch(chunk, augment) for chunk in chunks)
            return
        with ThreadPoolExecutor(1, "fdbench-read-ahead") as reader:
            pending = reader.submit(self.fetch, chunks[0], augment)
            for chunk in chunks[1:]:
                batch = pending.result()
                pending = reader.submit(self.fetch, chunk, augment)
                yield batch
            yield pending.result()


def rows_of(request: Request, count: int) -> npt.NDArray[np.int64]:
    """The split's rows in a part of `count` images, ascending.

    "held-out" is min(1000, count // 12) images of the training set (500 of fashion-mini), the same
    ones for every seed, so that all runs hold out the same images; "train" is the rest. Raises
    FdbenchError if a split would be empty.
    """
    held = min(1000, count // 12)
    if request.part == "train" and held == 0:
        raise FdbenchError(
            f"{request.name} has {count} training images: at least 12 are needed, since one in "
            "twelve is held out."
        )
    if count == 0:
        raise FdbenchError(f"{request.name} has no images for {request.split!r}.")
    order = permutation(0, "held-out", count)
    rows = {"train": order[held:], "held-out": order[:held], "test": order}
    return np.sort(rows[request.split])
