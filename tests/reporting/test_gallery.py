"""The picture shows the stored images, the network's predictions and the magnified difference."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from madeup import store
from safetensors.numpy import save
from test_all_or_nothing import FATES, NAMES, rows, run_info

from fdbench.reporting.all_or_nothing import Victim, victims
from fdbench.reporting.figures.examples import ATTACKERS, IMAGES, Examples, examples
from fdbench.reporting.figures.gallery import magnified, pictures, render
from fdbench.store import DataInfo, SetInfo
from fdbench.store.runs import read_runs
from fdbench.store.set_json import write_set_info

U8 = npt.NDArray[np.uint8]
X: U8 = np.random.default_rng(0).integers(60, 200, (len(FATES), 3, 8, 8)).astype(np.uint8)
SHIFT = {name: i + 1 for i, name in enumerate(NAMES)}  # by how much an attacker moves every pixel


def described(images: int) -> SetInfo:
    data = DataInfo("fashion-mini", "test", "f" * 16, classes=10, count=1000)
    return SetInfo("madeup", (), (), data, 8, 8 / 255, 0, images, {})


def stored(folder: Path, clean: bool = True, images: int = len(FATES)) -> Path:
    """A set: each attacker's images in a shard, with the clean ones."""
    (folder / "adv").mkdir(parents=True)
    lines = []
    for name in NAMES:
        tensors = {name: X[:images] + np.uint8(SHIFT[name])}
        tensors |= {"clean": X[:images]} if clean else {}
        content = save(tensors, metadata={"ids": json.dumps(list(range(images)))})
        shard = hashlib.sha256(content).hexdigest()[:32] + ".safetensors"
        (folder / "adv" / shard).write_bytes(content)
        lines.append(json.dumps({"attacker": name, "ids": list(range(images)), "shard": shard}))
    write_set_info(folder / "set.json", described(images))
    (folder / "index-0.jsonl").write_text("\n".join(lines) + '\n{"attacker": "torn')
    return folder


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    store(tmp_path, run_info(), rows())
    return victims(read_runs(tmp_path))[0]


def test_difference_is_grey_where_nothing_moved_and_full_at_eps() -> None:
    clean: U8 = np.full((1, 3, 2, 2), 100, np.uint8)
    adv = clean.copy()
    adv[0, 0, 0, 0], adv[0, 1, 1, 1], adv[0, 2, 0, 0] = 108, 92, 104
    shown = magnified(adv, clean, 8 / 255)[0]
    assert shown[0, 0, 0] == pytest.approx(1)
    assert shown[1, 1, 1] == pytest.approx(0)
    assert shown[2, 0, 0] == pytest.approx(0.75)
    assert shown[0, 1, 1] == 0.5


def test_examples_are_the_stored_pixels_of_the_judged_images(
    tmp_path: Path, victim: Victim
) -> None:
    shown = examples(victim, stored(tmp_path / "sets" / "madeup"))
    assert shown is not None
    assert len(shown.ids) == IMAGES
    assert list(shown.adv) == ["noise", "smooth", "momentum", "phases"], "strongest first"
    assert len(shown.adv) <= ATTACKERS
    for place, image in enumerate(shown.ids):
        assert isinstance(image, int)
        assert (shown.clean[place] == X[image]).all()
        for name, adv in shown.adv.items():
            assert (adv[place] == X[image] + SHIFT[name]).all()
            assert shown.predictions[name][place] == (
                5 if FATES[image][NAMES.index(name)] == "x" else 3
            )


def test_examples_run_from_the_most_broken_image_to_an_unbroken_one(
    tmp_path: Path, victim: Victim
) -> None:
    shown = examples(victim, stored(tmp_path / "set"))
    assert shown is not None
    broken = [FATES[image].count("x") for image in shown.ids if isinstance(image, int)]
    assert broken == sorted(broken, reverse=True)
    assert (broken[0], broken[-1]) == (4, 0)


def test_images_that_are_not_stored_are_not_shown(tmp_path: Path, victim: Victim) -> None:
    assert examples(victim, tmp_path / "absent") is None
    assert examples(victim, stored(tmp_path / "unclean", clean=False)) is None
    some = examples(victim, stored(tmp_path / "two", images=2))
    assert some is not None
    assert sorted(map(str, some.ids)) == ["0", "1"]
    full = stored(tmp_path / "full")
    next((full / "adv").iterdir()).unlink()
    assert examples(victim, full) is None


def test_a_malformed_line_of_the_index_is_named_and_left_out(
    tmp_path: Path, victim: Victim, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path / "sets" / "madeup")
    (folder / "index-0.jsonl").write_text("hello\n")
    assert examples(victim, folder) is None
    assert "index-0.jsonl, line 1" in capsys.readouterr().err.replace("\n", " ")


def test_a_truncated_shard_costs_its_picture_and_no_report(
    tmp_path: Path, victim: Victim, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path / "sets" / "madeup")
    for shard in (folder / "adv").iterdir():
        shard.write_bytes(shard.read_bytes()[:100])
    assert render([victim], tmp_path) == {}
    assert "no picture of the set madeup" in capsys.readouterr().err.replace("\n", " ")


def texts(figure: Any) -> list[tuple[str, str]]:
    labels = [axes.xaxis.label for axes in figure.axes]
    return [(text.get_text(), text.get_color()) for text in labels if text.get_text()]


@pytest.mark.parametrize("px", [32, 299])
def test_wrong_predictions_are_red_and_crossed(px: int) -> None:
    clean: U8 = np.zeros((2, 3, px, px), np.uint8)
    predictions = {"clean": (0, 1), "one": (0, 0), "two": (1, 1)}
    shown = Examples((0, 1), clean, {"one": clean, "two": clean}, (0, 1), predictions)
    figure = pictures(shown, 8 / 255, names=("cat", "dog"))
    captions = texts(figure)
    words = [text for text, _ in captions]
    cross = "\N{MULTIPLICATION X}"
    assert words == [
        *("label cat, says cat", "cat", f"{cross} dog"),
        *("label dog, says dog", f"{cross} cat", "dog"),
    ]
    assert [(colour == "#C1121F") for _, colour in captions] == [cross in text for text in words]
    heads = [axes.get_title() for axes in figure.axes[:5]]
    assert heads == ["clean", "one", "difference", "two", "difference"]
    how = {image.get_interpolation() for axes in figure.axes for image in axes.get_images()}
    assert how == {"nearest" if px == 32 else "antialiased"}


def test_each_stored_set_has_its_picture(tmp_path: Path) -> None:
    store(tmp_path, run_info("r20"), rows())
    assert render(victims(read_runs(tmp_path)), tmp_path) == {}
    stored(tmp_path / "sets" / "madeup")
    store(tmp_path, run_info("r20", options={"set": "other", "digest": "f" * 16}), rows())
    drawn = render(victims(read_runs(tmp_path)), tmp_path)
    assert list(drawn) == ["blackbox-examples-madeup.png"]
    assert drawn["blackbox-examples-madeup.png"].startswith(b"\x89PNG")
