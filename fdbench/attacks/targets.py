"""Targets of a targeted attack: drawn (contract C3), the least likely class, or from a file."""

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
_NAMED = 5  # images named in an error


def draw_targets(batch: Batch, classes: int, seed: int, stream: str = "target") -> Labels:
    """Draws a wrong class for each image, uniformly.

    Xie et al. 2019, released code: (label + U{1..C-1}) mod C, one draw per image.
    """
    shift = [1 + randomness.integer(seed, stream, i, classes - 1) for i in batch.ids]
    return (batch.label + torch.tensor(shift, device=batch.label.device)) % classes


@torch.no_grad()
def least_likely(net: nn.Module, batch: Batch) -> Labels:
    """Returns the wrong class with the lowest logit on the clean image.

    Kurakin et al. 2017, "Adversarial machine learning at scale", who do not exclude the label:
    where the label has the lowest logit, this takes the next lowest.
    """
    return net(batch.x).scatter(1, batch.label[:, None], torch.inf).argmin(1)


def _image_id(text: str) -> ImageId:
    """Converts an index into the data set to an int; names such as "0007" stay text."""
    return int(text) if text.isdecimal() and str(int(text)) == text else text


def from_file(path: Path) -> dict[ImageId, int]:
    """Reads targets from a CSV file of `image,target` lines under that header.

    Raises FdbenchError if it can't be read, BadValue naming the first invalid line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as reason:
        raise FdbenchError(f"the targets in {path} can't be read: {reason}.") from reason
    if not lines or lines[0] != _HEADER:
        first = ",".join(lines[0]) if lines else ""
        raise BadValue(f"{path} must start with the line image,target; it starts with {first!r}.")
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
    """Returns the targets of these images, looked up in `wanted`.

    Raises BadValue naming the images with no target, an impossible one, or their own label.
    """
    # A folder's 17.png has the text id "17"; the file's id is the number 17.
    targets = [wanted.get(image, wanted.get(_image_id(str(image)))) for image in ids]
    true = label.tolist()
    faults: dict[str, Callable[[int | None, int], bool]] = {
        "no target is given": lambda target, _: target is None,
        f"only classes 0 to {classes - 1} can be targets; another is given": (
            lambda target, _: target not in range(classes)
        ),
        "the target given is the true label": lambda target, label: target == label,
    }
    for fault, applies in faults.items():
        faulty = [i for i, *pair in zip(ids, targets, true, strict=True) if applies(*pair)]
        if faulty:
            raise BadValue(
                f"{fault} for {_named(faulty)}.\n"
                "Every attacked image needs a wrong class; --targets random draws one."
            )
    return torch.tensor(targets, dtype=torch.int64, device=label.device)


@dataclass(frozen=True)
class _Request:
    """The inputs that a choice of targets may depend on."""

    batch: Batch
    classes: int
    seed: int
    net: nn.Module
    wanted: Mapping[ImageId, int]


CHOOSERS: dict[str, Callable[[_Request], Labels]] = {
    "random": lambda request: draw_targets(request.batch, request.classes, request.seed),
    "least-likely": lambda request: least_likely(request.net, request.batch),
    "file": lambda request: given(
        request.wanted, request.batch.ids, request.batch.label, request.classes
    ),
}


def choose_targets(
    kind: str,
    batch: Batch,
    classes: int,
    seed: int,
    net: nn.Module,
    wanted: Mapping[ImageId, int] | None = None,
) -> Labels:
    """Chooses a wrong class for each image with the entry `kind` of CHOOSERS.

    Args:
        net: the judged network, in float32; used by "least-likely".
        wanted: the targets by image id; used by "file".

    Raises BadValue for an unknown kind, and for an image without a valid target in `wanted`.
    """
    request = _Request(batch, classes, seed, net, wanted or {})
    return CHOOSERS[pick("kind of targets", kind, CHOOSERS)](request)
