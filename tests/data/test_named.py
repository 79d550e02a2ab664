import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner

from fdbench.data import check_images, named, open_data
from fdbench.data.embedded import COUNTS, FILE, fashion_mini, make_fashion_mini
from fdbench.data.idx import read_idx
from fdbench.errors import FdbenchError

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def make_arrays(count: int = 60, px: int = 16, channels: int = 3, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, px, px, channels), np.uint8)
    return x, np.arange(count, dtype=np.int64) % 5


# --- the embedded data


@pytest.mark.parametrize(("part", "count"), COUNTS.items())
def test_the_embedded_images_are_balanced(part: str, count: int) -> None:
    x, y = fashion_mini(part)
    assert x.shape == (count, 28, 28)
    assert np.bincount(y).tolist() == [count // 10] * 10


@pytest.mark.parametrize(
    ("split", "count"), [("train", 5500), ("held-out", 500), ("test", 1000)], ids=str
)
def test_fashion_mini_needs_no_file_of_the_user(split: str, count: int) -> None:
    data = open_data("fashion-mini", split)
    assert (len(data), data.classes, data.px, len(data.class_names)) == (count, 10, 28, 10)
    batch = data.fetch([0, 1])
    check_images(batch.x)
    assert torch.equal(batch.x[:, 0], batch.x[:, 2])


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs the package dataset-fashion-mnist")
def test_the_embedded_file_is_what_the_script_makes_of_fashion_mnist(tmp_path: Path) -> None:
    from importlib import resources

    from fdbench.data.embedded.make_fashion_mini import balanced
    from fdbench.data.idx import read_part

    embedded = resources.files("fdbench.data.embedded").joinpath(FILE).read_bytes()
    assert len(embedded) < 3_000_000
    for part, count in COUNTS.items():
        x, y = read_part(DEBIAN, part)
        rows = balanced(y, count)
        assert np.array_equal(fashion_mini(part)[0], x[rows])
        assert np.array_equal(fashion_mini(part)[1], y[rows])


def fake_fashion(folder: Path, cut: int = 0) -> None:
    """The four files, with unsorted labels; `cut` bytes of the images are missing."""

    folder.mkdir(exist_ok=True)
    for prefix, count in (("train", 6100), ("t10k", 1050)):
        y = (np.arange(count) * 7 % 10).astype(np.uint8)
        x = np.repeat(y, 784)
        header = bytes([0, 0, 8, 3]) + np.array([count, 28, 28], ">u4").tobytes()
        content = header + x.tobytes()[: len(x) - cut]
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
        header = bytes([0, 0, 8, 1]) + np.array([count], ">u4").tobytes()
        labels = gzip.compress(header + y.tobytes())
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(labels)


def test_the_script_makes_the_same_bytes_twice_and_keeps_file_order(tmp_path: Path) -> None:
    fake_fashion(tmp_path)
    outputs = [tmp_path / "one.xz", tmp_path / "two.xz"]
    for output in outputs:
        done = CliRunner().invoke(make_fashion_mini.main, [str(tmp_path), str(output)])
        assert done.exit_code == 0, done.output
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    from fdbench.data.embedded import unpack

    x, y = unpack(outputs[0].read_bytes(), "test")
    assert y[:10].tolist() == [0, 7, 4, 1, 8, 5, 2, 9, 6, 3]
    assert np.array_equal(x[:, 5, 5], y)


def test_the_four_files_of_fashion_mnist_are_read_in_place(tmp_path: Path) -> None:
    fake_fashion(tmp_path)
    data = open_data("fashion-mnist", "test", data_dir=tmp_path)
    assert (len(data), data.px, data.class_names[9]) == (1050, 28, "Ankle boot")


def test_a_cut_idx_file_is_refused(tmp_path: Path) -> None:
    fake_fashion(tmp_path, cut=5)
    with pytest.raises(FdbenchError, match=r"t10k-images.* can't be read as an idx file"):
        open_data("fashion-mnist", "test", data_dir=tmp_path)


# --- torchvision's data sets


class FakeCifar:
    """Has torchvision's attributes and records its arguments."""

    arguments: tuple[Path, bool, bool]

    def __init__(self, root: Path, train: bool, download: bool) -> None:
        FakeCifar.arguments = (root, train, download)
        self.data, labels = make_arrays(24)
        self.targets = labels.tolist()
        self.classes = list("abcde")


def test_torchvision_downloads_only_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", FakeCifar)
    data = open_data("cifar10", "test", data_dir=tmp_path)
    assert FakeCifar.arguments == (tmp_path, False, False)
    assert (len(data), data.class_names) == (24, tuple("abcde"))
    open_data("cifar10", "train", data_dir=tmp_path, download=True)
    assert FakeCifar.arguments == (tmp_path, True, True)


@pytest.mark.parametrize("ref", ["cifar10", "cifar100", "fashion-mnist"])
def test_missing_data_are_not_downloaded_without_the_option(
    ref: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(named, "_DEBIAN", tmp_path / "nowhere")
    with pytest.raises(FdbenchError, match="Add --download, or --data-dir DIR"):
        open_data(ref, "test")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "head",
    [b"\0\0\x08\x40", b"\0\0\x08\x03" + b"\xff" * 12, b"\0\0\x0d\x01\0\0\0\1", b"\0\0"],
)
def test_an_idx_header_that_claims_too_much_is_refused(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(head + b"1"))
    with pytest.raises(FdbenchError, match="can't be read as an idx file"):
        read_idx(path)
