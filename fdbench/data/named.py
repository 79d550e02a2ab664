"""The small named data sets: embedded, from Debian's package, or read by torchvision."""

import contextlib
import os
import sys
from pathlib import Path

import numpy as np

from fdbench.data.dataset import Dataset, Request
from fdbench.data.embedded import fashion_mini
from fdbench.data.idx import images_file, read_part
from fdbench.data.memory import in_memory
from fdbench.errors import FdbenchError

# Xiao et al. 2017, Table 2.
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
# Where Debian's and Ubuntu's package dataset-fashion-mnist puts its files.
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
# What torchvision reads, below --data-dir.
_LAYOUTS = {
    "fashion-mnist": "FashionMNIST/raw/train-images-idx3-ubyte, ...",
    "cifar10": "cifar-10-batches-py/data_batch_1, ...",
    "cifar100": "cifar-100-python/train, test, meta",
}
_TORCHVISION = {"fashion-mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}


def download_folder() -> Path:
    """The folder of downloads without --data-dir (XDG base directory specification)."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "fdbench" / "data"


def open_fashion_mini(request: Request) -> Dataset:
    """6000 + 1000 images of Fashion-MNIST, embedded in the package."""
    x, y = fashion_mini(request.part)
    return in_memory(request, x, y, len(FASHION), FASHION)


def open_fashion_mnist(request: Request) -> Dataset:
    """All 60 000 + 10 000 images: the four .gz files if present, else torchvision's copy."""
    folder = request.data_dir or _DEBIAN
    if not images_file(folder, request.part).is_file():
        return open_torchvision(request)
    x, y = read_part(folder, request.part)
    return in_memory(request, x, y, len(FASHION), FASHION)


def open_torchvision(request: Request) -> Dataset:
    """The data set as torchvision reads it; downloaded only if `request.download`.

    Raises FdbenchError if it is missing, incomplete or can't be downloaded.
    """
    from torchvision import datasets

    root = request.data_dir or download_folder()
    reader = getattr(datasets, _TORCHVISION[request.name])
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for results (contract C7)
            dataset = reader(root, train=request.part == "train", download=request.download)
    except (RuntimeError, OSError) as reason:
        if request.download:
            raise FdbenchError(
                f"{request.name} can't be downloaded to {root}: {reason}"
            ) from reason
        raise FdbenchError(
            f"{request.name} is missing or incomplete in {root}, "
            f"which should hold {_LAYOUTS[request.name]}.\n"
            "Add --download, or --data-dir DIR if it is in another folder."
        ) from reason
    x, y = np.asarray(dataset.data), np.asarray(dataset.targets)
    return in_memory(request, x, y, len(dataset.classes), tuple(dataset.classes))
