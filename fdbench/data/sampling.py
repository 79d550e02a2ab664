"""Which images come first: the order from which `--limit` takes a prefix.

Every order is fixed by the data and the sample's name, so that a larger limit extends a smaller one
and two networks see the same images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fdbench.data.dataset import Augment, Dataset, Reader
from fdbench.errors import BadValue
from fdbench.randomness import ImageId, permutation
from fdbench.types import Images, Labels

FIRST, BALANCED, RANDOM = "first", "balanced", "random"
FORMS = "first, balanced, random or random:SEED"

# In random order nearly every image is followed by one of another class: 1 - 1/C of them for C
# equally frequent classes. Data with fewer than this share of that are in runs of one class.
_FEW_CHANGES = 0.25


def ordered_by_class(labels: Labels) -> bool:
    """Whether images of one class follow each other, as in class folders.

    Then the first images show one class, or a few. False for fewer than two images a class, whose
    order can't be told from a random one.
    """
    classes = len(set(labels.tolist()))
    if classes < 2 or len(labels) < 2 * classes:
        return False
    changes = int((labels[1:] != labels[:-1]).sum())
    return changes < _FEW_CHANGES * (1 - 1 / classes) * len(labels)


def _balanced(labels: Labels, seed: int) -> Tensor:
    """The first image of each class, by class; then the second of each; and so on."""
    by_class = torch.argsort(labels, stable=True)
    sizes = torch.unique_consecutive(labels[by_class], return_counts=True)[1]
    turn = torch.cat([torch.arange(int(size)) for size in sizes])  # of by_class's images
    return by_class[torch.argsort(turn, stable=True)]


def _random(labels: Labels, seed: int) -> Tensor:
    return torch.from_numpy(permutation(seed, "sample", len(labels)))


_ORDERS: dict[str, Callable[[Labels, int], Tensor]] = {
    FIRST: lambda labels, seed: torch.arange(len(labels)),
    BALANCED: _balanced,
    RANDOM: _random,
}


def _parsed(sample: str) -> tuple[str, int]:
    """The order's name and its seed. Raises BadValue for another text."""
    name, colon, seed = sample.partition(":")
    if name not in _ORDERS or (colon and not (name == RANDOM and seed.isdecimal())):
        raise BadValue(f"no sample {sample!r}.\nAllowed: {FORMS}.")
    return name, int(seed or 0)


@dataclass(frozen=True, eq=False)
class _Reordered:
    """Reads the images of another reader in another order."""

    read: Reader
    order: Tensor

    def __call__(
        self, positions: Sequence[int], ids: Sequence[ImageId], augment: Augment | None
    ) -> Images:
        return self.read([int(self.order[position]) for position in positions], ids, augment)


def sampled(data: Dataset, sample: str | None = None) -> Dataset:
    """The same images in the order of `sample`.

    Args:
        data: a data set in its own order.
        sample: "first" (its own order), "balanced" (one image of each class in turn), "random" or
            "random:SEED"; None: balanced where the data are ordered by class, else first.

    Raises:
        BadValue: for another sample, or data that are sampled already.
    """
    if sample is None:
        sample = BALANCED if ordered_by_class(data.labels) else FIRST
    name, seed = _parsed(sample)
    if data.sample != FIRST:
        raise BadValue(f"{data.name} is in the order {data.sample} already: open it anew.")
    if name == FIRST:
        return data
    order = _ORDERS[name](data.labels, seed)
    return replace(
        data,
        labels=data.labels[order],
        ids=tuple(data.ids[position] for position in order.tolist()),
        read=_Reordered(data.read, order),
        sample=f"{RANDOM}:{seed}" if name == RANDOM else name,
    )
