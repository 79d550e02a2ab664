"""Labels a folder of images as `filename,label` lines, as CAAD 2018 required of a defence.

Source: Xie et al. 2019, released code: the whole image is resized to the network's size, without a
crop, and the class with the highest logit is the label. A network that resizes by itself gets the
images unchanged, so its labels are those an attack on it is judged by.

Labels so far are kept in a journal next to the output, one JSON line per image, so that the same
command resumes; the output is written in one piece when all images are done. The journal knows an
image by the hash of its file: another folder's images of the same names are other images.
"""

import csv
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from fdbench.console import progress, warn
from fdbench.data import ENDINGS, open_rgb, to_images
from fdbench.errors import BadValue, FdbenchError
from fdbench.files import parse_json, write_atomically
from fdbench.models import Defense, Model, Preprocessed
from fdbench.specs import digest
from fdbench.store import Closing, Journal, whole_lines
from fdbench.verdict import predict

_LISTED = 10  # unreadable images that an error names


@dataclass(frozen=True)
class Classification:
    """One network on one folder; images are resized to side `px`, or not at all if it is None."""

    model: Model
    folder: Path
    output: Path
    device: torch.device
    px: int | None
    label_base: int = 0
    batch_size: int = 50
    skip_bad: bool = False

    @property
    def journal(self) -> Path:
        """The journal of labels, which count from 0 whatever the label base."""
        return self.output.with_name(f"{self.output.name}.jsonl")

    @property
    def identity(self) -> dict[str, Any]:
        """Everything but the image that determines a label."""
        return {"model": self.model.name, "weights": self.model.weights, "px": self.px}


@dataclass(frozen=True)
class Classified:
    """The number of images in the output, and the reason for each image that is not."""

    count: int
    skipped: dict[str, str]


def side(model: Model, px: int | None) -> int | None:
    """Returns the size to resize to: `px`, else the card's, else the network's attribute `px`.

    None for a network that resizes by itself.
    """
    if isinstance(model.net, Defense):
        raise BadValue(f"{model.ref} labels images itself: run its run_defense.sh instead.")
    known = model.card.spec.px if model.card else getattr(model.net, "px", None)
    size = known if px is None else px
    if px is None and size is not None and isinstance(model.net, Preprocessed):
        return None
    if not isinstance(size, int) or size < 1:
        raise BadValue(
            f"the image size of {model.ref} isn't known.\n"
            "Give --px 224, or the network an attribute px."
        )
    return size


def whole_image(path: Path, px: int | None) -> UInt8[Tensor, "3 P Q"]:
    """Returns the image in RGB, resized to px x px whatever its aspect ratio; None: as it is.

    Bicubic with a = -0.75 and no antialiasing, as in the authors' OpenCV; the two differ only by
    rounding. Raises FdbenchError naming an unreadable file.
    """
    pixels = torch.from_numpy(np.array(open_rgb(str(path)))).permute(2, 0, 1)  # (3, H, W)
    if px is None:
        return pixels
    resized = F.interpolate(pixels[None].float(), (px, px), mode="bicubic", align_corners=False)
    return resized[0].round().clamp(0, 255).to(torch.uint8)


class Answers(Closing):
    """The labels so far, by the hash of the image's file, in a journal next to the output."""

    def __init__(self, task: Classification) -> None:
        path = task.journal
        if task.output.exists() and not path.exists():
            raise FdbenchError(
                f"{task.output} exists without its journal {path.name}.\n"
                "Move it away, or name another OUTPUT_FILE."
            )
        self._journal = Journal(path)
        try:
            head, self.known = _answers_in(path)
            _refuse_other(path, head, task.identity)
            self._journal.trim()
            if head is None:
                self._journal.append([task.identity])
        except BaseException:
            self._journal.close()
            raise

    def append(self, labels: Mapping[str, int], keys: Mapping[str, str]) -> None:
        """Appends labels, by name, to the journal; they are on disk when this returns."""
        self._journal.append(_line(name, keys[name], label) for name, label in labels.items())
        self.known |= {keys[name]: label for name, label in labels.items()}

    def close(self) -> None:
        """Closes the journal."""
        self._journal.close()


def _line(name: str, key: str, label: int) -> dict[str, Any]:
    line = {"image": name, "sha256": key, "class": label}
    return {**line, "check": digest(line)}


def _answers_in(path: Path) -> tuple[dict[str, Any] | None, dict[str, int]]:
    """Returns the journal's first line, the command's identity, and the labels in the others.

    Warns of each line that is not as it was written; its image is labelled again.
    """
    lines = whole_lines(path).splitlines()
    try:
        head = parse_json(lines[0]) if lines else None
    except ValueError as reason:
        raise FdbenchError(f"{path} is not a journal of fdbench classify.") from reason
    labels: dict[str, int] = {}
    for number, text in enumerate(lines[1:], 2):
        try:
            line = parse_json(text)
            if line != _line(line["image"], line["sha256"], line["class"]):
                raise ValueError("check")
            labels[line["sha256"]] = line["class"]
        except (ValueError, KeyError, TypeError):
            warn(f"{path}, line {number} is not as it was written: its image is labelled again")
    return head, labels


def _refuse_other(path: Path, head: dict[str, Any] | None, identity: dict[str, Any]) -> None:
    if head not in (None, identity):
        raise FdbenchError(
            f"{path} was written for another network or size: {head}.\n"
            "Move it and the output away, or name another OUTPUT_FILE."
        )


def images_in(folder: Path) -> list[str]:
    """Returns the sorted names of the image files in the folder, not in its subfolders."""
    with os.scandir(folder) as entries:
        files = [entry.name for entry in entries if entry.is_file()]
    names = [f for f in files if f.lower().endswith(ENDINGS) and not f.startswith(".")]
    if not names:
        raise FdbenchError(f"{folder} holds no images ({', '.join(ENDINGS)}).")
    return sorted(names)


def _loaded(task: Classification, names: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns the images by name, and what is wrong with those that can't be read."""

    def load(name: str) -> Tensor | str:
        try:
            return whole_image(task.folder / name, task.px)
        except FdbenchError as reason:
            return reason.message

    with ThreadPoolExecutor(os.cpu_count() or 1, "fdbench-decode") as pool:
        read = dict(zip(names, pool.map(load, names), strict=True))
    bad = {name: reason for name, reason in read.items() if isinstance(reason, str)}
    return {name: image for name, image in read.items() if isinstance(image, Tensor)}, bad


def _labels(task: Classification, images: dict[str, Tensor]) -> dict[str, int]:
    """Returns the network's labels, computed on images of one shape at a time."""
    labels: dict[str, int] = {}
    for shape in {image.shape for image in images.values()}:
        alike = {name: image for name, image in images.items() if image.shape == shape}
        x = to_images(torch.stack(list(alike.values()))).to(task.device)
        labels |= zip(alike, predict(task.model.net, x).tolist(), strict=True)
    return labels


def _hashes(task: Classification, names: Sequence[str]) -> dict[str, str]:
    """Returns the sha256 of each file by name; that of nothing for one that can't be read."""

    def content(name: str) -> bytes:
        try:
            return (task.folder / name).read_bytes()
        except OSError:
            return b""  # opening it as an image says why

    with ThreadPoolExecutor(os.cpu_count() or 1, "fdbench-hash") as pool:
        keys = pool.map(lambda name: hashlib.sha256(content(name)).hexdigest(), names)
        return dict(zip(names, keys, strict=True))


def _classify_all(
    task: Classification, keys: Mapping[str, str], answers: Answers
) -> dict[str, str]:
    """Writes labels of all readable images to the journal; returns the errors of the others."""
    todo = [name for name, key in keys.items() if key not in answers.known]
    bad: dict[str, str] = {}
    with progress(task.folder.name, len(keys), "images", len(keys) - len(todo)) as advance:
        for start in range(0, len(todo), task.batch_size):
            batch = todo[start : start + task.batch_size]
            images, unreadable = _loaded(task, batch)
            bad |= unreadable
            answers.append(_labels(task, images), keys)
            advance(len(batch))
    return bad


def _lines(answers: Mapping[str, int], keys: Mapping[str, str], base: int) -> bytes:
    text = io.StringIO()
    rows = ((name, answers[key] + base) for name, key in keys.items() if key in answers)
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def classify_folder(task: Classification) -> Classified:
    """Writes `task.output`, one line per image, sorted by name.

    Raises FdbenchError, naming them, if images can't be read and `skip_bad` is not set; the labels
    of the others are kept.
    """
    names = images_in(task.folder)
    task.model.net.to(task.device)
    with Answers(task) as answers:
        keys = _hashes(task, names)
        bad = _classify_all(task, keys, answers)
        if bad and not task.skip_bad:
            more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
            listed = "\n  ".join(list(bad.values())[:_LISTED])
            raise FdbenchError(
                f"{len(bad)} of {len(names)} images can't be read, the others are done:\n  {listed}"
                f"{more}\nRepair them, or add --skip-bad to leave them out: the command resumes."
            )
        write_atomically(task.output, _lines(answers.known, keys, task.label_base))
    return Classified(len(names) - len(bad), bad)
