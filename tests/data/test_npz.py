import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fdbench.data import open_data
from fdbench.errors import FdbenchError

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def make_arrays(count: int = 60, px: int = 16, channels: int = 3, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, px, px, channels), np.uint8)
    return x, np.arange(count, dtype=np.int64) % 5


def save_npz(path: Path, **arrays: npt.NDArray[Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return f"npz:{path}"


GOOD_X, GOOD_Y = make_arrays(6)
BAD_ARRAYS: dict[str, tuple[dict[str, npt.NDArray[Any]], str]] = {
    "no x": ({"y": GOOD_Y}, "lacks x"),
    "no y": ({"x": GOOD_X}, "lacks y"),
    "float x": ({"x": GOOD_X / 255, "y": GOOD_Y}, r"x is float64.*\n?.*uint8"),
    "channels first": ({"x": GOOD_X.transpose(0, 3, 1, 2), "y": GOOD_Y}, "channels first"),
    "four channels": ({"x": np.zeros((6, 8, 8, 4), np.uint8), "y": GOOD_Y}, r"\(6, 8, 8, 4\)"),
    "not square": ({"x": np.zeros((6, 8, 9, 3), np.uint8), "y": GOOD_Y}, "square"),
    "flat x": ({"x": np.zeros((6, 64), np.uint8), "y": GOOD_Y}, r"\(6, 64\)"),
    "float y": ({"x": GOOD_X, "y": GOOD_Y / 1.0}, "y is float64"),
    "one-hot y": ({"x": GOOD_X, "y": np.eye(6, dtype=np.int64)}, r"y is int64 \(6, 6\)"),
    "negative label": ({"x": GOOD_X, "y": GOOD_Y - 1}, "label -1"),
    "too few labels": ({"x": GOOD_X, "y": GOOD_Y[:5]}, "6 images in x, but 5 labels"),
    "floats in [0, 1]": (
        {"x": GOOD_X / 255, "y": GOOD_Y},
        r"not uint8, and goes from 0 to 1\. Store \(x \* 255\)\.round\(\)\.astype\('uint8'\)",
    ),
    "normalised": (
        {"x": GOOD_X.astype(np.float32) / 64 - 2, "y": GOOD_Y},
        r"from -2 to 1\.98\. Normalised already\?.*before.*fdbench\.Preprocessed\(net",
    ),
    "floats to 255": ({"x": GOOD_X * 1.0, "y": GOOD_Y}, r"Store x\.round\(\)\.astype\('uint8'\)"),
    "int64": (
        {"x": GOOD_X.astype(int), "y": GOOD_Y},
        r"int64, .*x\.round\(\)\.astype\('uint8'\)",
    ),
    "too large": ({"x": GOOD_X * 3.0, "y": GOOD_Y}, r"from 0 to 765\.\nExpected"),
    "not a number": ({"x": GOOD_X * np.nan, "y": GOOD_Y}, "nan"),
    "text": ({"x": GOOD_X.astype(str), "y": GOOD_Y}, "x is <U[0-9]+, not uint8"),
    "floats cut to 0 and 1": (
        {"x": (GOOD_X / 255).round().astype(np.uint8), "y": GOOD_Y},
        r"(?s)only 0 and 1.*\(x \* 255\)\.round\(\)\.astype\('uint8'\)",
    ),
    "unlabelled": (
        {"x": GOOD_X, "y": np.where(GOOD_Y == 0, -1, GOOD_Y)},
        r"(?s)y has the label -1 \(\d+ of them\); labels start at 0.*keep = y >= 0",
    ),
    "unnamed class": (
        {"x": GOOD_X, "y": GOOD_Y, "class_names": np.array(["a", "b"])},
        "label 4, but there are 2 classes",
    ),
    "pickled x": ({"x": np.array([None] * 6), "y": GOOD_Y}, "can't be read"),
    "empty": ({"x": GOOD_X[:0], "y": GOOD_Y[:0]}, r"y is int64 \(0,\)"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_malformed_arrays_are_refused_by_name(case: str, tmp_path: Path) -> None:
    arrays, message = BAD_ARRAYS[case]
    with pytest.raises(FdbenchError, match=message) as caught:
        open_data(save_npz(tmp_path / "mine.npz", **arrays), "test")
    assert "mine.npz" in caught.value.message


def test_a_test_label_unknown_in_training_is_refused(tmp_path: Path) -> None:
    save_npz(tmp_path / "train.npz", x=GOOD_X, y=GOOD_Y)
    save_npz(tmp_path / "test.npz", x=GOOD_X, y=GOOD_Y + 3)
    with pytest.raises(FdbenchError, match="label 7, but there are 5 classes"):
        open_data(f"npz:{tmp_path}", "test")


def test_class_names_count_the_classes(tmp_path: Path) -> None:
    names = np.array(["a", "b", "c", "d", "e", "f", "g"])
    ref = save_npz(tmp_path / "a.npz", x=GOOD_X[..., :1], y=GOOD_Y, class_names=names)
    data = open_data(ref, "test")
    assert (data.classes, data.class_names) == (7, tuple("abcdefg"))


@pytest.mark.parametrize("keep", [0, 100, -30])
def test_a_truncated_npz_is_refused(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    save_npz(path, x=GOOD_X, y=GOOD_Y)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FdbenchError, match=r"cut\.npz is not a \.npz file, or is cut short"):
        open_data(f"npz:{path}", "test")


def test_an_npz_with_flipped_bits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flipped.npz"
    save_npz(path, x=GOOD_X, y=GOOD_Y)
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(FdbenchError, match=r"flipped\.npz has an array that can't be read"):
        open_data(f"npz:{path}", "test")
    assert zipfile.is_zipfile(path)


def test_a_single_file_has_no_training_set(tmp_path: Path) -> None:
    ref = save_npz(tmp_path / "a.npz", x=GOOD_X, y=GOOD_Y)
    for split in ("train", "held-out"):
        with pytest.raises(FdbenchError, match="has no training set"):
            open_data(ref, split)


def test_too_few_images_to_hold_any_out_are_refused(tmp_path: Path) -> None:
    save_npz(tmp_path / "train.npz", x=GOOD_X, y=GOOD_Y)
    with pytest.raises(FdbenchError, match="at least 12"):
        open_data(f"npz:{tmp_path}", "train")


def _spoilt(path: Path, name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> None:
    """An archive with a good y and this member."""
    y = BytesIO()
    np.save(y, np.zeros(2, np.int64))
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("y.npy", y.getvalue())
        archive.writestr(name, content)


def _npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


HOSTILE = {
    "twelve terabytes": _npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1 << 43,)}"),
    "claims more": _npy("{'descr': '|u1', 'fortran_order': False, 'shape': (10**13, 3)}", b"x"),
    "negative": _npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 4, 4)}"),
    "pickled": _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"cos\nsystem\n"),
    "no header": b"\x93NUMPY\x01\x00\xff\xff",
    "mangled": _npy("{'descr': '|u1', 'fortran_order': (((("),
    "other version": b"\x93NUMPY\x09\x00",
    "empty": b"",
    "no pixel": _npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 0, 0, 3)}"),
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_hostile_array_is_refused_by_file(tmp_path: Path, how: str) -> None:
    path = tmp_path / "x.npz"
    _spoilt(path, "x.npy", HOSTILE[how])
    with pytest.raises(FdbenchError, match=r"x\.npz"):
        open_data(f"npz:{path}", "test")


def test_a_member_without_its_ending_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    _spoilt(path, "x", b"hello")
    with pytest.raises(FdbenchError, match=r"x is no \.npy array"):
        open_data(f"npz:{path}", "test")
