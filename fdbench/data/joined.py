"""Two data sets as one: the images of the second behind those of the first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from fdbench.data.dataset import Augment, Dataset
from fdbench.errors import BadValue
from fdbench.randomness import ImageId
from fdbench.types import Images


@dataclass(frozen=True, eq=False)
class _Both:
    first: Dataset
    second: Dataset

    def __call__(
        self, positions: Sequence[int], ids: Sequence[ImageId], augment: Augment | None
    ) -> Images:
        count = len(self.first)
        sides = [
            (self.first, [n for n, one in enumerate(positions) if one < count], 0),
            (self.second, [n for n, one in enumerate(positions) if one >= count], count),
        ]
        x = torch.empty(len(positions), 3, self.first.px, self.first.px)
        for data, places, offset in sides:
            if places:
                there = [positions[place] - offset for place in places]
                x[places] = data.read(there, [ids[place] for place in places], augment)
        return x


def joined(first: Dataset, second: Dataset) -> Dataset:
    """Returns both, with the ids `extra:ID` for the second's images; all else is the first's.

    Raises BadValue for images of another size and for labels that the first has no class for.
    """
    if second.px != first.px:
        raise BadValue(
            f"{second.name} has images of {second.px} pixels, {first.name} of {first.px}: they "
            "can't be in one batch."
        )
    highest = int(second.labels.max())
    if highest >= first.classes:
        raise BadValue(
            f"{second.name} has the label {highest}, but {first.name} has {first.classes} classes, "
            f"0 .. {first.classes - 1}."
        )
    return replace(
        first,
        labels=torch.cat([first.labels, second.labels]),
        ids=(*first.ids, *(f"extra:{one}" for one in second.ids)),
        read=_Both(first, second),
        ahead=first.ahead or second.ahead,
    )
