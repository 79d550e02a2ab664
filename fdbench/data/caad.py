"""`caad:DIR`: the NIPS 2017 competition's images, a test set: DIR/images.csv, DIR/images/ID.png.

The table is the competition's dev_dataset.csv (on Kaggle: images.csv); three of its columns are
read: ImageId, TrueLabel, TargetClass. Its classes are ImageNet's, numbered 1 .. 1000 (cleverhans
3.1.0, examples/nips17_adversarial_competition); fdbench numbers them 0 .. 999, as elsewhere.
"""

import csv
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fdbench.data.dataset import Dataset, Reader, Request
from fdbench.data.folder import ENDINGS, FolderReader, Listing, common_size, from_files
from fdbench.errors import FdbenchError
from fdbench.files import is_entry

LABEL_BASE = 1  # the competition's number of class 0
_CLASSES = 1000
_TABLES = ("images.csv", "dev_dataset.csv", "final_dataset.csv")  # the first that exists
_TARGETS = "target_class.csv"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns any error from reading a malformed table into an FdbenchError that names it."""
    try:
        yield
    except OSError as reason:
        raise FdbenchError(f"{path} can't be read: {reason.strerror}.") from reason
    except (UnicodeDecodeError, csv.Error) as reason:
        raise FdbenchError(f"{path} is not a table of text: {reason}.") from reason


def _class(path: Path, image: str, text: str | None) -> int:
    """0 .. 999 from the competition's 1 .. 1000."""
    try:
        number = int(text or "") - LABEL_BASE
    except ValueError:
        number = -1
    if not 0 <= number < _CLASSES:
        raise FdbenchError(
            f"{path}: image {image!r} has the class {text!r}.\n"
            f"The competition's classes are {LABEL_BASE} .. {_CLASSES - 1 + LABEL_BASE}."
        )
    return number


def _unique(path: Path, pairs: list[tuple[str, int]]) -> dict[str, int]:
    """The pairs as a dict. Raises FdbenchError for a repeated name, or one no file can have."""
    if strange := [name for name, _ in pairs if not is_entry(f"{name}.png")]:
        raise FdbenchError(
            f"{path} names an image {strange[0][:60]!r}.\nAn image's id is the name of its file in "
            "images/, without .png: no folders, no control characters."
        )
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise FdbenchError(
            f"{path} has {len(repeated)} images more than once; the first: {repeated[0]}."
        )
    return dict(pairs)


def read_classes(path: Path) -> dict[str, int]:
    """Classes 0 .. 999 by image id, from the competition's lines `ID.png,CLASS` (1 .. 1000).

    Raises FdbenchError for a missing file or a malformed line.
    """
    pairs = []
    with _reading(path), path.open(encoding="utf-8-sig", newline="") as file:
        for line in csv.reader(file):
            if not line:
                continue
            if len(line) != 2:
                raise FdbenchError(f"{path}: {','.join(line)!r} is not a line NAME.png,CLASS.")
            stem, ending = os.path.splitext(line[0])
            name = stem if ending.lower() in ENDINGS else line[0]
            pairs.append((name, _class(path, name, line[1].strip())))
    return _unique(path, pairs)


def _table(root: Path) -> Path:
    for name in _TABLES:
        if (root / name).is_file():
            return root / name
    raise FdbenchError(f"there is no {' or '.join(_TABLES)} in {root}: caad:DIR needs one.")


def _column(path: Path, column: str) -> dict[str, int]:
    """One column of classes by image id, in the table's order."""
    with _reading(path), path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        absent = [name for name in ("ImageId", column) if name not in (rows.fieldnames or ())]
        if absent:
            raise FdbenchError(f"{path} has no column {' and no column '.join(absent)}.")
        pairs = [(str(row["ImageId"]), _class(path, row["ImageId"], row[column])) for row in rows]
    if not pairs:
        raise FdbenchError(f"{path} lists no images.")
    return _unique(path, pairs)


def caad_targets(root: Path) -> dict[str, int]:
    """The target class, 0 .. 999, of each image, by id.

    Read from root/target_class.csv if it exists, else from the table's column TargetClass. Raises
    FdbenchError for a class outside 1 .. 1000 or an image of the table without a target.
    """
    path = root / _TARGETS
    if not path.is_file():
        return _column(_table(root), "TargetClass")
    targets = read_classes(path)
    absent = [image for image in _column(_table(root), "TrueLabel") if image not in targets]
    if absent:
        raise FdbenchError(
            f"{path} lacks {len(absent)} images of the table; the first: {absent[0]}."
        )
    return targets


def _listing(root: Path, table: Path) -> Listing:
    labels = _column(table, "TrueLabel")
    names = tuple(f"images/{image}.png" for image in labels)
    absent = [name for name in names if not (root / name).is_file()]
    if absent:
        raise FdbenchError(
            f"{len(absent)} of the {len(names)} images of {table} are missing; the first: "
            f"{root / absent[0]}.\nAdd them, or delete their lines from {table.name}."
        )
    sizes = tuple((root / name).stat().st_size for name in names)
    return Listing(root, names, sizes, tuple(labels.values()))


def open_caad(request: Request) -> Dataset:
    """The images in the table's order, at their own size; with `px`, resized and cropped to it.

    Raises FdbenchError for the training split, which does not exist, and for a table or images that
    are missing, malformed or of different sizes.
    """
    root = request.path or Path()
    if request.part != "test":
        raise FdbenchError(f"{request.name} has no training images: it is a test set only.")
    if not root.is_dir():
        raise FdbenchError(f"{request.name}: there is no folder {root}.")
    listing = _listing(root, _table(root))
    px = request.px or common_size(f"{root}/{listing.names[0]}")

    def reader(paths: tuple[str, ...]) -> Reader:
        return FolderReader(paths, px, resize=request.px is not None)

    numbered = from_files(request, listing, ("",) * _CLASSES, px, reader)
    return replace(numbered, class_names=())  # the table has class numbers, no names
