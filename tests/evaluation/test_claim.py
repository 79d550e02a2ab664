"""`fdbench verify --images`: an honest file is believed in every form, a tampered one is not."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from conftest import frozen
from torch import Tensor, nn

import fdbench
from fdbench.commands import main
from fdbench.data import open_data
from fdbench.errors import BadValue, FdbenchError
from fdbench.store import Check
from fdbench.store.images import write_png

DATA = open_data("fashion-mini", "test")
COUNT, EPS = 60, 8 / 255


class Centred(nn.Module):
    """Right on most images: the nearest of the classes' means."""

    def __init__(self) -> None:
        super().__init__()
        train = open_data("fashion-mini", "train")
        batch = train.fetch(range(1000))
        means = torch.stack([batch.x[batch.label == one].mean(0) for one in range(10)])
        self.means = nn.Parameter(means.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(x.flatten(1), self.means)


NET = frozen(Centred())
CLEAN = DATA.fetch(range(COUNT))
ADV = fdbench.pgd(NET, CLEAN.x, CLEAN.label, eps=EPS, iters=5)
ROBUST = 100 * float((NET(ADV).argmax(1) == CLEAN.label).float().mean())


def checked(path: Path, **changes: Any) -> dict[str, Check]:
    checks = fdbench.verify_images(path, NET, "fashion-mini", **{"eps": EPS, **changes})
    return {one.check: one for one in checks}


def failed(path: Path, **changes: Any) -> set[str]:
    return {name for name, one in checked(path, **changes).items() if one.verdict == "fail"}


def channels_last(images: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = images.permute(0, 2, 3, 1).numpy()
    return array


def saved_pngs(path: Path) -> None:
    moved = (255 * (ADV - CLEAN.x)).trunc() / 255  # whole pixels inside the ball
    for image, one in zip(CLEAN.ids, (255 * (CLEAN.x + moved)).round().byte(), strict=True):
        write_png(path / f"{image}.png", one)


HONEST: dict[str, Callable[[Path], None]] = {
    "robustbench.pt": lambda path: torch.save({"adv_complete": ADV}, path),
    "tensor.pth": lambda path: torch.save(ADV, path),
    "first.npy": lambda path: np.save(path, ADV.numpy()),
    "last.npy": lambda path: np.save(path, channels_last(ADV)),
    "labelled.npz": lambda path: np.savez(path, x_adv=ADV.numpy(), y=CLEAN.label.numpy()),
    "folder": saved_pngs,
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_file_is_believed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    HONEST[name](path)
    checks = checked(path)
    assert not {one.check for one in checks.values() if one.verdict == "fail"}
    assert checks["images"].found.startswith(f"{COUNT} images of 28 x 28")
    assert (checks["labels"].verdict == "pass") == (name == "labelled.npz")
    if name != "folder":
        assert f"robust {ROBUST:.2f} %" in checks["robust accuracy"].found
        assert not failed(path, robust=round(ROBUST, 2))


def test_a_folder_without_one_of_its_first_images_is_refused(tmp_path: Path) -> None:
    saved_pngs(tmp_path)
    (tmp_path / "7.png").unlink()
    with pytest.raises(FdbenchError, match=r"has 59 of .* but no 7\.png"):
        checked(tmp_path)


def changed(at: tuple[int, ...], value: float) -> Tensor:
    images = ADV.clone()
    images[at] = value
    return images


def saved(images: Tensor, **arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, x_adv=images.numpy(), **arrays)


LABELS = CLEAN.label.numpy()
ONE_WRONG = np.where(np.arange(COUNT) == 7, (LABELS + 1) % 10, LABELS)
FAR = CLEAN.x + 1.2 * (ADV - CLEAN.x)
TAMPERED: dict[str, tuple[Callable[[Path], None], dict[str, Any], str]] = {
    "a pixel outside the ball": (saved(changed((3, 0, 5, 5), 0.9)), {}, "ball"),
    "all outside the ball": (saved(FAR.clamp(0, 1)), {}, "ball"),
    "eps larger than claimed": (saved(ADV), {"eps": 4 / 255}, "ball"),
    "l2 larger than claimed": (saved(ADV), {"eps": 0.1, "norm": "l2"}, "ball"),
    "more values changed than claimed": (saved(ADV), {"eps": 5.0, "norm": "l0"}, "ball"),
    "images swapped": (saved(ADV[[1, 0, *range(2, COUNT)]]), {}, "ball"),
    "images of another set": (saved(DATA.fetch(range(100, 100 + COUNT)).x), {}, "ball"),
    "turned around": (saved(ADV.flip(3)), {}, "ball"),
    "above one": (saved(changed((0, 0, 0, 0), 1.001)), {}, "box"),
    "below zero": (saved(changed((9, 1, 2, 3), -0.001)), {}, "box"),
    "in pixels": (saved(255 * ADV), {}, "box"),
    "normalised": (saved((ADV - 0.5) / 0.25), {}, "box"),
    "not a number": (saved(changed((5, 0, 1, 1), float("nan"))), {}, "box"),
    "infinite": (saved(changed((5, 0, 1, 1), float("inf"))), {}, "box"),
    "a label changed": (saved(ADV, y=ONE_WRONG), {}, "labels"),
    "labels of other images": (saved(ADV, y=np.roll(LABELS, 1)), {}, "labels"),
    "fewer labels": (saved(ADV, y=LABELS[:-1]), {}, "images"),
    "no image": (saved(ADV[:0]), {}, "images"),
    "another size": (saved(ADV[:, :, 2:, 2:]), {}, "images"),
    "more images than there are": (saved(ADV.repeat(20, 1, 1, 1)), {}, "images"),
    "accuracy claimed too low": (saved(ADV), {"robust": ROBUST - 1}, "robust accuracy"),
    "accuracy claimed too high": (saved(ADV), {"robust": ROBUST + 1}, "robust accuracy"),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_a_tampered_file_is_rejected_with_its_reason(tmp_path: Path, kind: str) -> None:
    write, changes, check = TAMPERED[kind]
    write(tmp_path / "adv.npz")
    assert check in failed(tmp_path / "adv.npz", **changes)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("ran",)


def cut(path: Path) -> None:
    torch.save(ADV, path)
    path.write_bytes(path.read_bytes()[:5000])


UNREADABLE: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "code": ("adv.pt", lambda path: torch.save({"adv": Evil()}, path), "more than tensors"),
    "a bare pickle": (
        "adv.pt",
        lambda path: path.write_bytes(pickle.dumps(Evil(), 2)),
        "more than",
    ),
    "cut short": ("adv.pt", cut, "cut short"),
    "objects": ("adv.npy", lambda path: np.save(path, np.array([{}])), "can't be read"),
    "text": ("adv.npz", lambda path: np.savez(path, x=np.array(["a"])), "not numbers"),
    "other names": ("adv.npz", lambda path: np.savez(path, pictures=ADV.numpy()), "has no adv_"),
    "three dimensions": ("adv.npy", lambda path: np.save(path, ADV[0].numpy()), "of shape"),
    "a picture": ("adv.jpg", lambda path: path.write_bytes(b""), "is not a .pt"),
    "nothing": ("adv.pt", lambda path: None, "no file"),
    "a folder of others": (
        "folder",
        lambda path: path.mkdir(),
        "has 0 of the data set's 1000 images, but no 0.png",
    ),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_holds_no_images_is_refused_by_name(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, write, message = UNREADABLE[kind]
    write(tmp_path / name)
    with pytest.raises(FdbenchError, match=message):
        checked(tmp_path / name)
    assert "ran" not in capsys.readouterr().out


NET_FILE = """
import torch
from torch import nn
def load():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 10)).eval()
"""


def command(tmp_path: Path, *words: object) -> Result:
    (tmp_path / "net.py").write_text(NET_FILE)
    line = ["verify", "--model", tmp_path / "net.py:load", "--data", "fashion-mini", *words]
    return CliRunner().invoke(main, [str(word) for word in line])


def test_the_command_shows_the_checks_and_exits_with_3_where_one_fails(tmp_path: Path) -> None:
    np.savez(tmp_path / "adv.npz", x_adv=ADV.numpy())
    good = command(tmp_path, "--images", tmp_path / "adv.npz", "--eps", "8/255")
    assert good.exit_code == 0, good.output
    assert "robust accuracy" in good.stdout
    bad = command(tmp_path, "--images", tmp_path / "adv.npz", "--eps", "4/255", "--batch-size", 7)
    assert bad.exit_code == 3
    assert "ball" in bad.stderr


CONTRADICTIONS = {
    "a run as well": (("some-run", "--images", "adv.npz"), "leave out some-run"),
    "a radius of a run": (("some-run", "--eps", "8/255"), "belong to --images"),
    "neither": ((), "which run"),
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_options_that_contradict_each_other_are_refused(tmp_path: Path, kind: str) -> None:
    words, message = CONTRADICTIONS[kind]
    result = command(tmp_path, *words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_a_claim_that_is_no_percentage_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "adv.npz", x_adv=ADV.numpy())
    with pytest.raises(BadValue, match="between 0 and 100"):
        checked(tmp_path / "adv.npz", robust=156.3)
