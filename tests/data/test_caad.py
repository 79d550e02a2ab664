"""The competition's table and images: labels from 1 become classes from 0; nothing is guessed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fdbench.data import open_data
from fdbench.data.caad import caad_targets as targets
from fdbench.data.caad import read_classes
from fdbench.errors import BadValue, FdbenchError

HEADER = "ImageId,URL,TrueLabel,TargetClass,Author"
LINES = ["b7,http://x,1,1000,Ann", 'a3,http://y,1000,1,"Bob, B."', "c1,http://z,244,123,Cy"]
IDS = ("b7", "a3", "c1")


def write_table(root: Path, *lines: str, name: str = "images.csv", header: str = HEADER) -> None:
    (root / name).write_text("\n".join([header, *lines]) + "\n")


def save_image(root: Path, name: str, size: tuple[int, int] = (9, 9), seed: int = 0) -> None:
    (root / "images").mkdir(exist_ok=True)
    shape = (size[1], size[0], 3)
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))
    image.save(root / "images" / f"{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_table(tmp_path, *LINES)
    for i, name in enumerate(IDS):
        save_image(tmp_path, name, seed=i)
    return tmp_path


def test_images_come_in_the_tables_order_with_labels_from_zero(root: Path) -> None:
    data = open_data(f"caad:{root}", "test")
    assert data.ids == IDS
    assert data.labels.tolist() == [0, 999, 243]
    assert (data.classes, data.px, len(data)) == (1000, 9, 3)
    batch = data.fetch([1])
    pixels = np.asarray(Image.open(root / "images" / "a3.png"))
    assert torch.equal(batch.x[0], torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255)


def test_the_competitions_own_name_for_the_table_is_read_too(root: Path) -> None:
    before = open_data(f"caad:{root}", "test")
    (root / "images.csv").rename(root / "dev_dataset.csv")
    assert open_data(f"caad:{root}", "test").fingerprint == before.fingerprint


def test_the_fingerprint_changes_with_a_label(root: Path) -> None:
    before = open_data(f"caad:{root}", "test").fingerprint
    write_table(root, *LINES[:2], LINES[2].replace("244", "245"))
    assert open_data(f"caad:{root}", "test").fingerprint != before


def test_without_px_all_images_must_have_one_size(root: Path) -> None:
    save_image(root, "c1", (12, 10))
    data = open_data(f"caad:{root}", "test")
    with pytest.raises(FdbenchError, match=r"c1\.png is 12x10, others are 9x9.*\n.*--px 9"):
        data.fetch([0, 1, 2])
    assert open_data(f"caad:{root}", "test", px=6).fetch([0, 1, 2]).x.shape == (3, 3, 6, 6)


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_the_training_splits_are_refused(root: Path, split: str) -> None:
    with pytest.raises(FdbenchError, match="no training images"):
        open_data(f"caad:{root}", split)


def test_missing_images_are_counted_and_the_first_is_named(root: Path) -> None:
    for name in ("a3", "c1"):
        (root / "images" / f"{name}.png").unlink()
    with pytest.raises(FdbenchError, match=r"2 of the 3 images .* missing; .*images/a3\.png"):
        open_data(f"caad:{root}", "test")


@pytest.mark.parametrize("label", ["0", "1001", "-1", "", "cat", "3.0"])
def test_a_label_outside_1_to_1000_is_refused(root: Path, label: str) -> None:
    write_table(root, *LINES[:2], f"c1,u,{label},5,x")
    with pytest.raises(FdbenchError, match=rf"'c1' has the class '{label}'.\n.*1 \.\. 1000"):
        open_data(f"caad:{root}", "test")


def test_an_image_listed_twice_is_refused(root: Path) -> None:
    write_table(root, *LINES, LINES[0])
    with pytest.raises(FdbenchError, match=r"1 images more than once; the first: b7"):
        open_data(f"caad:{root}", "test")


STRANGE = ["../up", "/etc/a", "a/b", "a" * 252, "a\x1b[1m", "a\\b"]


@pytest.mark.parametrize("name", STRANGE)
def test_a_name_that_leads_out_of_the_folder_or_that_no_file_can_have_is_refused(
    root: Path, name: str
) -> None:
    save_image(root.parent, "up")
    write_table(root, *LINES, f"{name},http://z,1,2,Eve")
    with pytest.raises(FdbenchError, match="An image's id is the name of its file"):
        open_data(f"caad:{root}", "test")


def test_a_malformed_table_is_refused(root: Path) -> None:
    write_table(root)
    with pytest.raises(FdbenchError, match="lists no images"):
        open_data(f"caad:{root}", "test")
    write_table(root, *LINES, header="Id,URL,Label,TargetClass,Author")
    with pytest.raises(FdbenchError, match="no column ImageId and no column TrueLabel"):
        open_data(f"caad:{root}", "test")
    (root / "images.csv").write_bytes(b"ImageId,TrueLabel\n\xff\xfe,1\n")
    with pytest.raises(FdbenchError, match="not a table of text"):
        open_data(f"caad:{root}", "test")
    (root / "images.csv").unlink()
    with pytest.raises(FdbenchError, match=r"no images\.csv or dev_dataset\.csv"):
        open_data(f"caad:{root}", "test")


def test_a_folder_that_is_missing_or_not_given_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FdbenchError, match="there is no folder"):
        open_data(f"caad:{tmp_path / 'nowhere'}", "test")
    with pytest.raises(BadValue, match="caad:DIR"):
        open_data("caad:", "test")


def test_targets_come_from_the_table(root: Path) -> None:
    assert targets(root) == {"b7": 999, "a3": 0, "c1": 122}
    write_table(root, "b7,7", header="ImageId,TrueLabel")
    with pytest.raises(FdbenchError, match="no column TargetClass"):
        targets(root)


def test_a_file_of_targets_overrides_the_table(root: Path) -> None:
    (root / "target_class.csv").write_text("a3.png,2\nb7.png,3\n\nc1.png,4\n")
    assert targets(root) == {"a3": 1, "b7": 2, "c1": 3}
    (root / "target_class.csv").write_text("a3.png,2\n")
    with pytest.raises(FdbenchError, match="lacks 2 images of the table; the first: b7"):
        targets(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png\n", "not a line NAME.png,CLASS"),
        ("a.png,1,2\n", "not a line NAME.png,CLASS"),
        ("a.png,0\n", "'a' has the class '0'"),
        ("a.png,1\na.jpg,2\n", "more than once; the first: a"),
    ],
)
def test_lines_without_a_valid_class_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "lines.csv").write_text(text)
    with pytest.raises(FdbenchError, match=message):
        read_classes(tmp_path / "lines.csv")


def test_the_competitions_own_images_open(real_data: Path) -> None:
    root = real_data / "data" / "nips17"
    data = open_data(f"caad:{root}", "test")
    assert (len(data), data.classes, data.px) == (200, 1000, 299)
    assert data.ids[0] == "4fc263d35a3ad3ee"
    assert data.labels[0] == 243
    assert targets(root)[data.ids[0]] == 122
    assert not any(targets(root)[str(i)] == y for i, y in zip(data.ids, data.labels, strict=True))
    assert data.fetch(range(3)).x.shape == (3, 3, 299, 299)
