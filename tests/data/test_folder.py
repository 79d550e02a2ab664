import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from fdbench.data import Augment, Dataset, check_images, imagenet, open_data
from fdbench.data.folder import centre_crop, open_rgb
from fdbench.errors import FdbenchError


def save_image(path: Path, size: tuple[int, int] = (8, 8), seed: int = 0) -> Image.Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3)
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))
    image.save(path)
    return image


def changed(data: Dataset, positions: Sequence[int], seed: int = 0, epoch: int = 0) -> torch.Tensor:
    return data.fetch(positions, Augment(seed, epoch)).x


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    for part, count in (("train", 12), ("val", 2)):
        for i in range(count):
            for label, name in enumerate(("cat", "dog")):
                save_image(root / part / name / f"{name}-{i}.png", seed=2 * i + label)
    return root


@pytest.fixture
def imagenet_root(tmp_path: Path) -> Path:
    for part in ("train", "val"):
        for label in range(1000):
            (tmp_path / part / f"n{label:08}").mkdir(parents=True)
        for i in range(24):
            save_image(tmp_path / part / f"n{i * 40:08}" / f"{part}_{i}.png", (60 + i, 48), i)
    return tmp_path


# --- folders of images


def test_a_folder_of_images_is_read_byte_for_byte(folder: Path) -> None:
    data = open_data(f"folder:{folder}", "test")
    assert data.class_names == ("cat", "dog")
    assert data.ids == ("cat-0", "cat-1", "dog-0", "dog-1")
    assert (data.labels.tolist(), data.px, data.classes) == ([0, 0, 1, 1], 8, 2)
    for i, name in enumerate(data.ids):
        path = folder / "val" / data.class_names[int(data.labels[i])] / f"{name}.png"
        expected = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255
        assert torch.equal(data.fetch([i]).x[0], expected)


def test_class_folders_alone_are_a_test_set(folder: Path) -> None:
    ref = f"folder:{folder / 'train'}"
    assert len(open_data(ref, "test")) == 24
    with pytest.raises(FdbenchError, match="no training images"):
        open_data(ref, "train")


def test_a_class_folder_named_like_a_negative_label_is_refused(tmp_path: Path) -> None:
    for name in ("-1", "0", "1"):
        save_image(tmp_path / name / f"{name}.png")
    with pytest.raises(FdbenchError, match=r"/-1 would be a class .*without a label, move it away"):
        open_data(f"folder:{tmp_path}", "test")
    (tmp_path / "-1").rename(tmp_path / "-one")
    assert open_data(f"folder:{tmp_path}", "test").classes == 3


@pytest.mark.parametrize(
    ("names", "warned"), [(("0", "1", "2", "10"), True), (("02", "10"), False)]
)
def test_numbered_class_folders_that_are_not_their_labels_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], warned: bool
) -> None:
    for name in names:
        save_image(tmp_path / name / f"image-{name}.png")
    data = open_data(f"folder:{tmp_path}", "test")
    assert data.class_names == tuple(sorted(names)), "as torchvision's ImageFolder numbers them"
    text = " ".join(capsys.readouterr().err.split())
    assert ("ImageFolder has it: 10 is label 2" in text) == warned


def test_equal_file_names_become_relative_paths(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_image(tmp_path / name / "1.png")
    assert open_data(f"folder:{tmp_path}", "test").ids == ("a/1", "b/1")
    save_image(tmp_path / "a" / "1.jpg")
    with pytest.raises(FdbenchError, match="two images are named 'a/1'"):
        open_data(f"folder:{tmp_path}", "test")


def test_the_fingerprint_of_a_folder_holds_names_sizes_and_labels(tmp_path: Path) -> None:
    save_image(tmp_path / "a" / "1.png")
    save_image(tmp_path / "b" / "2.png")
    lines = (
        f"{n}\t{(tmp_path / n).stat().st_size}\t{i}\n" for i, n in enumerate(("a/1.png", "b/2.png"))
    )
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert open_data(f"folder:{tmp_path}", "test").fingerprint == expected


def test_images_of_several_sizes_need_px(tmp_path: Path) -> None:
    save_image(tmp_path / "a" / "1.png", (8, 8))
    save_image(tmp_path / "a" / "2.png", (12, 10))
    data = open_data(f"folder:{tmp_path}", "test")
    with pytest.raises(FdbenchError, match=r"2\.png is 12x10, others are 8x8") as caught:
        data.fetch([0, 1])
    assert "--px 8" in caught.value.message
    resized = open_data(f"folder:{tmp_path}", "test", px=6)
    assert resized.fetch([0, 1]).x.shape == (2, 3, 6, 6)


def test_images_that_are_not_square_need_px(tmp_path: Path) -> None:
    save_image(tmp_path / "a" / "1.png", (12, 10))
    with pytest.raises(FdbenchError, match="square"):
        open_data(f"folder:{tmp_path}", "test")


@pytest.mark.parametrize("keep", [0, 20, 120])
def test_a_damaged_image_is_named(folder: Path, keep: int) -> None:
    path = folder / "val" / "dog" / "dog-1.png"
    data = open_data(f"folder:{folder}", "test")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FdbenchError, match=r"dog-1\.png is not a readable image"):
        list(data.batches(range(4), 2))


def test_sixteen_bit_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "a" / "deep.png")
    with pytest.raises(FdbenchError, match=r"deep\.png has more than 8 bits"):
        open_data(f"folder:{tmp_path}", "test")


def test_parts_with_different_classes_are_refused(folder: Path) -> None:
    save_image(folder / "val" / "bird" / "bird-0.png")
    with pytest.raises(FdbenchError, match="only in val: bird"):
        open_data(f"folder:{folder}", "train")


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FdbenchError, match="there is no folder"):
        open_data(f"folder:{tmp_path / 'nowhere'}", "test")
    with pytest.raises(FdbenchError, match="has no class folders"):
        open_data(f"folder:{tmp_path}", "test")
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    with pytest.raises(FdbenchError, match="holds no images"):
        open_data(f"folder:{tmp_path}", "test")


def test_no_more_than_two_batches_are_read_ahead(folder: Path) -> None:
    data = open_data(f"folder:{folder}", "train")
    batches = data.batches(range(len(data)), 2)
    next(batches)
    for path in folder.glob("train/*/*.png"):
        path.unlink()  # whatever is not read by now is lost
    with pytest.raises(FdbenchError, match="No such file"):
        list(batches)


def test_batches_are_what_fetch_gives(folder: Path) -> None:
    data = open_data(f"folder:{folder}", "train")
    order = list(range(len(data)))[::-1]
    batches = list(data.batches(order, 4, Augment(0, 1)))
    assert [len(b.ids) for b in batches[:-1]] == [4] * (len(batches) - 1)
    assert torch.equal(torch.cat([b.x for b in batches]), data.fetch(order, Augment(0, 1)).x)
    assert list(data.batches([], 4)) == []


# --- ImageNet


def test_imagenet_test_images_are_resized_by_the_short_edge_and_centre_cropped(
    imagenet_root: Path,
) -> None:
    data = open_data("imagenet", "test", data_dir=imagenet_root, px=28)
    assert (len(data), data.classes, data.px) == (24, 1000, 28)
    image = Image.open(imagenet_root / "val" / "n00000040" / "val_1.png")  # 61 x 48
    small = image.resize((41, 32), Image.Resampling.BICUBIC).crop((6, 2, 34, 30))
    expected = torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255
    assert torch.equal(data.fetch([1]).x[0], expected)


def test_imagenet_training_images_depend_on_seed_epoch_and_id_alone(imagenet_root: Path) -> None:
    data = open_data("imagenet", "train", data_dir=imagenet_root, px=16)
    together = changed(data, range(8))
    check_images(together)
    assert torch.equal(together, torch.cat([changed(data, [i]) for i in range(8)]))
    for other in (changed(data, range(8), seed=1), changed(data, range(8), epoch=1)):
        assert (together != other).flatten(1).any(1).all()


def test_an_incomplete_imagenet_is_refused(imagenet_root: Path) -> None:
    for part in ("train", "val"):
        (imagenet_root / part / "n00000999").rmdir()
    with pytest.raises(FdbenchError, match="999 class folders"):
        open_data("imagenet", "test", data_dir=imagenet_root)


def test_imagenet_without_its_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FdbenchError, match="--data-dir DIR"):
        open_data("imagenet", "test")
    with pytest.raises(FdbenchError, match="neither a folder train nor a folder val"):
        open_data("imagenet", "test", data_dir=tmp_path)


def test_random_boxes_have_the_areas_and_shapes_of_the_paper() -> None:
    unit = np.random.default_rng(0).random((500, 10, 5), np.float32)
    boxes = [imagenet.random_box(500, 400, u) for u in unit]
    valid = np.array([box for box in boxes if box is not None])
    left, top, right, bottom = valid.T
    width, height = right - left, bottom - top
    area, aspect = width * height / (500 * 400), width / height
    assert len(valid) == 500
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= 500
    assert bottom.max() <= 400
    assert 0.079 < area.min() < 0.1
    assert 0.9 < area.max() <= 1.001
    assert aspect.min() > 0.74
    assert aspect.max() < 1.35
    assert 0.4 < (aspect > 1).mean() < 0.6


def test_an_image_too_narrow_for_any_box_is_cropped_in_the_middle() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 100, 3), np.uint8))
    unit = np.full(67, 0.5, np.float32)  # factors 1, no lighting, no mirror
    unit[0:50:5] = 0.9
    x = imagenet.for_training(image, 8, unit)
    assert imagenet.random_box(100, 4, unit[:50].reshape(10, 5)) is None
    assert np.allclose(x, np.asarray(centre_crop(image, 8, 8)) / 255, atol=1e-6)


def test_each_colour_change_matches_its_formula() -> None:
    x = np.random.default_rng(0).random((6, 6, 3), np.float32) / 2 + np.float32(0.25)
    still = np.full((4, 3), 0.5, np.float32)
    order = np.arange(4, dtype=np.float32) / 4
    grey = np.array([0.299, 0.587, 0.114], np.float32)

    def changed_by(step: int, unit: float) -> npt.NDArray[np.float32]:
        moved = still.copy()
        moved[step] = unit
        return imagenet.jitter(x, order, moved)

    assert np.allclose(imagenet.jitter(x, order, still), x, atol=1e-6)
    assert np.allclose(changed_by(0, 0.0), 0.6 * x, atol=1e-6)
    mean = x.mean((0, 1))
    assert np.allclose(changed_by(1, 0.0), 0.6 * x + 0.4 * mean, atol=1e-6)
    assert np.allclose(changed_by(2, 0.0), 0.6 * x + 0.4 * (x @ grey)[..., None], atol=1e-6)
    shift = (changed_by(3, 0.6) - x).reshape(-1, 3)
    assert np.ptp(shift, axis=0).max() < 1e-6  # the same for every pixel
    assert 0 < np.abs(shift).max() < 0.02


def test_an_imagenet_training_image_is_mirrored_or_not() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    unit = np.full(67, 0.5, np.float32)
    straight = imagenet.for_training(image, 8, unit)
    unit[-1] = 0.4
    assert np.array_equal(imagenet.for_training(image, 8, unit), straight[:, ::-1])
    assert not np.array_equal(straight, straight[:, ::-1])


@pytest.mark.parametrize("kind", ["EPS", "GIF", "TIFF"])
def test_an_image_of_another_format_is_refused_whatever_its_name(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", format=kind)
    with pytest.raises(FdbenchError, match=r"a\.png is not a readable image"):
        open_rgb(str(tmp_path / "a.png"))


def test_an_image_that_claims_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path,
) -> None:
    Image.new("1", (8200, 8200)).save(tmp_path / "a.png")
    with pytest.raises(FdbenchError, match="8200 x 8200 pixels; the most is 64,000,000"):
        open_rgb(str(tmp_path / "a.png"))
