"""Every kind of data set by name: how to specify it, and the function that opens it."""

from collections.abc import Callable
from dataclasses import dataclass

from fdbench import data
from fdbench.data.dataset import Dataset, Request
from fdbench.registry import Registry

_TORCHVISION = ("data_dir", "download")


@dataclass(frozen=True)
class DataKind:
    """A kind of data set.

    Attributes:
        form: the value of --data; with a colon if a path follows.
        summary: one line for `fdbench list data`.
        open: returns the requested split.
        takes: which of the options data_dir, download and px it accepts.
        size: side of its images and number of classes, if they are the same for all such data.
    """

    form: str
    summary: str
    open: Callable[[Request], Dataset]
    takes: tuple[str, ...] = ()
    size: tuple[int, int] | None = None


DATA: Registry[DataKind] = Registry(
    kind="data set",
    group="fdbench.data",
    built_in={
        "fashion-mini": lambda: DataKind(
            "fashion-mini",
            "6000 + 1000 images of Fashion-MNIST, embedded (28 px, 10 classes)",
            data.open_fashion_mini,
            size=(28, 10),
        ),
        "fashion-mnist": lambda: DataKind(
            "fashion-mnist",
            "60 000 + 10 000 images of clothing (28 px, 10 classes)",
            data.open_fashion_mnist,
            _TORCHVISION,
            (28, 10),
        ),
        "cifar10": lambda: DataKind(
            "cifar10",
            "50 000 + 10 000 photographs (32 px, 10 classes)",
            data.open_torchvision,
            _TORCHVISION,
            (32, 10),
        ),
        "cifar100": lambda: DataKind(
            "cifar100",
            "50 000 + 10 000 photographs (32 px, 100 classes)",
            data.open_torchvision,
            _TORCHVISION,
            (32, 100),
        ),
        "imagenet": lambda: DataKind(
            "imagenet",
            "ImageNet-1k in --data-dir DIR with train/ and val/ (224 px, 1000 classes)",
            data.open_imagenet,
            ("data_dir", "px"),
            (224, 1000),
        ),
        "folder": lambda: DataKind(
            "folder:DIR",
            "images in DIR/train/CLASS/ and DIR/test/CLASS/, or DIR/CLASS/ (test only)",
            data.open_folder,
            ("px",),
        ),
        "npz": lambda: DataKind(
            "npz:PATH",
            "x uint8 (N, H, W, 3), y int64 (N,); a file, or a folder with train.npz and test.npz",
            data.open_npz,
        ),
        "caad": lambda: DataKind(
            "caad:DIR",
            "NIPS 2017's images: DIR/images.csv, labels 1..1000, and DIR/images/*.png (test only)",
            data.open_caad,
            ("px",),
        ),
    },
    fits=lambda offered: isinstance(offered, DataKind),
    wanted="an fdbench.data.DataKind",
)
