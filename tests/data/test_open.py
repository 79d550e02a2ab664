import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_npz import make_arrays, save_npz

from fdbench.data import DATA, Augment, Dataset, check_images, open_data
from fdbench.errors import BadValue, FdbenchError


def whole(data: Dataset, augment: Augment | None = None) -> torch.Tensor:
    return data.fetch(range(len(data)), augment).x


@pytest.fixture
def arrays_ref(tmp_path: Path) -> str:
    for part, count, seed in (("train", 60, 0), ("test", 20, 1)):
        x, y = make_arrays(count, seed=seed)
        save_npz(tmp_path / "arrays" / f"{part}.npz", x=x, y=y)
    return f"npz:{tmp_path / 'arrays'}"


# --- splits, ids, fingerprints


def test_held_out_and_train_partition_the_training_set(
    arrays_ref: str,
) -> None:
    train, held = open_data(arrays_ref, "train"), open_data(arrays_ref, "held-out")
    assert len(held) == 60 // 12
    assert sorted(train.ids + held.ids, key=int) == list(range(60))


def test_an_id_is_the_index_in_the_original_training_set(arrays_ref: str) -> None:
    x, y = make_arrays(60)
    for split in ("train", "held-out"):
        data = open_data(arrays_ref, split)
        batch = data.fetch(range(len(data)))
        rows = [int(i) for i in batch.ids]
        assert np.array_equal((batch.x * 255).round().permute(0, 2, 3, 1).numpy(), x[rows])
        assert np.array_equal(batch.label.numpy(), y[rows])
        assert torch.equal(data.labels, batch.label)


def test_pixels_are_scaled_exactly_by_255(arrays_ref: str) -> None:
    x, _ = make_arrays(20, seed=1)
    expected = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(whole(open_data(arrays_ref, "test")), expected)


def test_the_fingerprint_changes_with_one_pixel_or_one_label(tmp_path: Path) -> None:
    x, y = make_arrays(4)
    ref = save_npz(tmp_path / "a.npz", x=x, y=y)
    first = open_data(ref, "test").fingerprint
    assert open_data(ref, "test").fingerprint == first
    x[3, 0, 0, 0] ^= 1
    save_npz(tmp_path / "a.npz", x=x, y=y)
    second = open_data(ref, "test").fingerprint
    y[0] = 2
    save_npz(tmp_path / "a.npz", x=x, y=y)
    assert len({first, second, open_data(ref, "test").fingerprint}) == 3


def test_batches_are_what_fetch_gives(arrays_ref: str) -> None:
    data = open_data(arrays_ref, "train")
    order = list(range(len(data)))[::-1]
    batches = list(data.batches(order, 4, Augment(0, 1)))
    assert [len(b.ids) for b in batches[:-1]] == [4] * (len(batches) - 1)
    assert torch.equal(torch.cat([b.x for b in batches]), data.fetch(order, Augment(0, 1)).x)
    assert list(data.batches([], 4)) == []


# --- augmentation


def changed(data: Dataset, positions: Sequence[int], seed: int = 0, epoch: int = 0) -> torch.Tensor:
    return data.fetch(positions, Augment(seed, epoch)).x


def test_augmentation_does_not_depend_on_the_batch(arrays_ref: str) -> None:
    data = open_data(arrays_ref, "train")
    state = torch.get_rng_state()
    together = changed(data, range(20))
    alone = torch.cat([changed(data, [i]) for i in range(20)])
    assert torch.equal(together, alone)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}], ids=str)
def test_another_seed_or_epoch_augments_differently(arrays_ref: str, other: dict[str, int]) -> None:
    data = open_data(arrays_ref, "train")
    assert not torch.equal(changed(data, range(9)), changed(data, range(9), **other))


def test_every_crop_of_the_padded_image_and_its_mirror_occurs_and_nothing_else(
    tmp_path: Path,
) -> None:
    x, y = make_arrays(12, px=16)
    folder = tmp_path / "same"
    for part in ("train", "test"):
        save_npz(folder / f"{part}.npz", x=np.repeat(x[:1], 1200, axis=0), y=y.repeat(100))
    data = open_data(f"npz:{folder}", "train")
    padded = F.pad(data.fetch([0]).x, (2, 2, 2, 2))  # 16 // 8 = 2 px
    crops = [padded[0, :, i : i + 16, j : j + 16] for i in range(5) for j in range(5)]
    allowed = {c.numpy().tobytes() for crop in crops for c in (crop, crop.flip(2))}
    seen = {image.numpy().tobytes() for image in whole(data, Augment(0, 0))}
    assert seen == allowed
    assert len(allowed) == 50


# --- names and options


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("fashion-mni", "Did you mean 'fashion-mini'"),
        ("cifar10:x", "no data set 'cifar10:x'"),
        ("foldr:pics", "Did you mean 'folder'"),
        ("tiny", "folder:DIR or npz:PATH"),
        ("folder", "needs a path: folder:DIR"),
        ("npz:", "needs a path: npz:PATH"),
    ],
)
def test_an_unknown_data_set_is_refused_with_the_known_forms(ref: str, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        open_data(ref, "test")


def test_a_bare_path_is_refused_with_the_forms_to_type(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=f"folder:{tmp_path} or npz:{tmp_path}"):
        open_data(str(tmp_path), "test")


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(BadValue, match="no split 'val'"):
        open_data("fashion-mini", "val")


@pytest.mark.parametrize(
    ("ref", "option"),
    [
        ("fashion-mini", {"data_dir": Path()}),
        ("fashion-mini", {"download": True}),
        ("cifar10", {"px": 16}),
        ("npz:x.npz", {"data_dir": Path()}),
        ("folder:x", {"px": 0}),
    ],
)
def test_options_that_do_not_apply_are_refused(ref: str, option: dict[str, Any]) -> None:
    with pytest.raises(BadValue, match="--"):
        open_data(ref, "test", **option)


def test_every_data_set_is_described_in_a_line() -> None:
    kinds = [DATA[name] for name in DATA]
    assert {"fashion-mini", "cifar10", "imagenet", "folder:DIR", "npz:PATH"} <= {
        kind.form for kind in kinds
    }
    assert all(kind.summary and "\n" not in kind.summary for kind in kinds)


# --- images in [0, 1]


def images(*values: float) -> torch.Tensor:
    return torch.tensor(values).repeat(12)[: 3 * 4].reshape(1, 3, 2, 2)


@pytest.mark.parametrize("values", [(0.0, 1.0), (-9e-7, 1 + 9e-7), (0.5,)])
def test_images_in_the_unit_interval_pass(values: tuple[float, ...]) -> None:
    check_images(images(*values))


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ((0.0, 255.0), "divide by 255"),
        ((-2.1, 2.6), "normalised already"),
        ((0.0, float("nan")), "NaN"),
        ((0.0, 1.00001), "Clamp"),
        ((-0.00001, 1.0), "Negative"),
        ((0.0, float("inf")), "got 0 .. inf"),
    ],
)
def test_values_outside_are_refused_with_the_likely_cause(
    values: tuple[float, ...], cause: str
) -> None:
    with pytest.raises(FdbenchError, match=cause):
        check_images(images(*values))


# --- real data, where available


REAL = os.environ.get("FDBENCH_TEST_DATA")
real_data = pytest.mark.skipif(
    REAL is None, reason="set FDBENCH_TEST_DATA to a folder of real data"
)


@real_data
def test_the_real_cifar10_opens() -> None:
    data = open_data(f"npz:{REAL}/data/cifar10", "test")
    assert (len(data), data.classes, data.px) == (10_000, 10, 32)
    batch = data.fetch(range(256), Augment(0, 0))
    check_images(batch.x)
    assert batch.x.shape == (256, 3, 32, 32)
    assert data.labels.bincount().tolist() == [1000] * 10


@real_data
def test_real_photographs_open_at_their_own_size_and_resized(tmp_path: Path) -> None:
    (tmp_path / "photos").symlink_to(f"{REAL}/data/nips17/images")
    full_size = open_data(f"folder:{tmp_path}", "test")
    assert (len(full_size), full_size.px) == (200, 299)
    small = open_data(f"folder:{tmp_path}", "test", px=64)
    batches = list(small.batches(range(20), 8))
    assert [len(b.ids) for b in batches] == [8, 8, 4]
    assert all(0.05 < batch.x.mean() < 0.95 for batch in batches)
