"""The classes a targeted attack wants: drawn (contract C3), the network's last choice, or given."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fdbench import randomness
from fdbench.errors import BadValue, FdbenchError
from fdbench.randomness import ImageId
from fdbench.specs import pick
from fdbench.types import Batch, Labels

_HEADER = ["image", "target"]
_NAMED = 5  # images that an error names


def draw_targets(batch: Batch, classes: int, seed: int, stream: str = "target") -> Labels:
    """A wrong class for each image, uniform over all others.

    Xie et al. 2019, released code: (label + U{1..C-1}) mod C, one draw an image.
    """
    shift = [1 + randomness.integer(seed, stream, i, classes - 1) for i in batch.ids]
    return (batch.label + torch.tensor(shift, device=batch.label.device)) % classes


@torch.no_grad()
def least_likely(net: nn.Module, batch: Batch) -> Labels:
    """The wrong class that `net` finds least likely on the clean image.

    Kurakin et al. 2017, "Adversarial machine learning at scale", who leave the label in: a network
    so wrong that it finds the label least likely gives the next one here.
    """
    return net(batch.x).scatter(1, batch.label[:, None], torch.inf).argmin(1)


def _image_id(text: str) -> ImageId:
    """A place in the data set where the text is one; names such as "0007" stay text."""
    return int(text) if text.isdecimal() and str(int(text)) == text else text


def from_file(path: Path) -> dict[ImageId, int]:
    """The targets in a CSV file of `image,target` lines under that header.

    Raises FdbenchError if it can't be read, BadValue naming the line that is something else.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as reason:
        raise FdbenchError(f"the targets in {path} can't be read: {reason}.") from reason
    if not lines or lines[0] != _HEADER:
        found = ",".join(lines[0]) if lines else ""
        raise BadValue(f"{path} must start with the line image,target; it starts with {found!r}.")
    wanted: dict[ImageId, int] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        if len(line) != 2 or not line[0] or not line[1].isdecimal():
            raise BadValue(
                f"{path}, line {number}: {','.join(line)!r} is not an image and its target, "
                "a class from 0, as in 17,3."
            )
        image = _image_id(line[0])
        if image in wanted:
            raise BadValue(f"{path}, line {number}: image {line[0]} has a target already.")
        wanted[image] = int(line[1])
    return wanted


def _named(images: list[ImageId]) -> str:
    more = f" and {len(images) - _NAMED} more" if len(images) > _NAMED else ""
    return ", ".join(map(str, images[:_NAMED])) + more


def given(
    wanted: Mapping[ImageId, int], ids: Sequence[ImageId], label: Labels, classes: int
) -> Labels:
    """The targets of these images out of `wanted`.

    Raises BadValue naming the images that have none, an impossible one, or their own label.
    """
    # A folder may name its images 17.png: its ids are text then, and the file's a number.
    found = [wanted.get(image, wanted.get(_image_id(str(image)))) for image in ids]
    true = label.tolist()
    faults: dict[str, Callable[[int | None, int], bool]] = {
        "no target is given": lambda target, _: target is None,
        f"only classes 0 to {classes - 1} can be targets; another is given": (
            lambda target, _: target not in range(classes)
        ),
        "the target given is the true label": lambda target, label: target == label,
    }
    for fault, applies in faults.items():
        faulty = [i for i, *pair in zip(ids, found, true, strict=True) if applies(*pair)]
        if faulty:
            raise BadValue(
                f"{fault} for {_named(faulty)}.\n"
                "Every image that is attacked needs a wrong class; --targets random draws one."
            )
    return torch.tensor(found, dtype=torch.int64, device=label.device)


@dataclass(frozen=True)
class _Wish:
    """What a choice of targets may depend on."""

    batch: Batch
    classes: int
    seed: int
    net: nn.Module
    wanted: Mapping[ImageId, int]


CHOOSERS: dict[str, Callable[[_Wish], Labels]] = {
    "random": lambda wish: draw_targets(wish.batch, wish.classes, wish.seed),
    "least-likely": lambda wish: least_likely(wish.net, wish.batch),
    "file": lambda wish: given(wish.wanted, wish.batch.ids, wish.batch.label, wish.classes),
}


def choose_targets(
    kind: str,
    batch: Batch,
    classes: int,
    seed: int,
    net: nn.Module,
    wanted: Mapping[ImageId, int] | None = None,
) -> Labels:
    """A wrong class for each image, chosen as the entry `kind` of CHOOSERS does.

    Args:
        net: in float32, the one that is judged: on it "least-likely" depends.
        wanted: what "file" looks up.

    Raises BadValue for an unknown kind, and where `wanted` has no use for an image.
    """
    wish = _Wish(batch, classes, seed, net, wanted or {})
    return CHOOSERS[pick("kind of targets", kind, CHOOSERS)](wish)
