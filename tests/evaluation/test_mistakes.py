"""Each classic mistake, made with one network that is right on every image, is named."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdbench.data.dataset import Dataset
from fdbench.errors import SanityFailed
from fdbench.evaluation.mistakes import check_expected, suspicions
from fdbench.models import Preprocessed, in_memory_model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")


class Colours(nn.Module):
    """Right on images whose class is the nearest of four colours, in [0, 1], at 32 px alone."""

    def __init__(self, px: int = 32) -> None:
        super().__init__()
        self.px = px

    def forward(self, x: Tensor) -> Tensor:
        middle = x.mean((2, 3)) if x.shape[-1] == self.px else x.mean((2, 3)) * 0
        return -torch.cdist(middle, PALETTE.to(x.device))


PALETTE = torch.tensor([[0.45, 0.5, 0.6], [0.6, 0.5, 0.45], [0.5, 0.6, 0.5], [0.4, 0.4, 0.4]])


class Changed(nn.Module):
    """The network as its owner trained it: on images changed by `change`."""

    def __init__(self, change: Callable[[Tensor], Tensor], px: int = 32) -> None:
        super().__init__()
        self.net, self.change = Colours(px), change

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.change(x))


def images(count: int = 80) -> Dataset:
    labels = torch.arange(count) % 4
    noise = torch.rand((count, 3, 32, 32), generator=torch.Generator().manual_seed(0)) - 0.5
    x = (PALETTE[labels][:, :, None, None] + noise / 10).clamp(0, 1)
    return Dataset(
        "colours", "test", 4, 32, labels, tuple(range(count)), "f" * 64,
        lambda positions, ids, augment: x[list(positions)],
    )  # fmt: skip


def said(net: nn.Module) -> str:
    return "\n".join(suspicions(in_memory_model(net.eval()), images(), range(80), CPU))


def scaled(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return x * std + mean


def test_a_network_that_is_right_is_not_suspected() -> None:
    assert said(Colours()) == ""
    assert said(Preprocessed(Changed(scaled), None, MEAN, STD)) == ""


@pytest.mark.parametrize(
    ("net", "mistake", "typed"),
    [
        (Changed(scaled), "normalised images", "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"),
        (Preprocessed(Colours(), None, MEAN, STD), "normalised twice", "--mean 0 --std 1"),
        (
            Preprocessed(Changed(scaled), None, (0.2, 0.5, 0.8), (0.5, 0.5, 0.5)),
            "not the one it was trained with (ImageNet's",
            "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
        ),
        (Changed(lambda x: x / 255), "pixels of 0 .. 255", "--range 255"),
        (Changed(lambda x: x.flip(1)), "BGR images, as OpenCV", "--order bgr"),
        (Preprocessed(Colours(), order="bgr"), "RGB images, and gets BGR", "--order rgb"),
        (Colours(px=64), "images of 64 px", "--net-px 64"),
    ],
    ids=["not normalised", "twice", "other", "255", "bgr", "rgb", "size"],
)
def test_a_mistake_is_named_with_what_to_type(net: nn.Module, mistake: str, typed: str) -> None:
    text = said(net)
    assert mistake in text
    assert f"on 64 with {typed}" in text


def test_a_short_run_of_small_images_is_judged_by_more_than_its_own() -> None:
    """Two of a run's twelve images are wrong by BGR: too few to tell, but not of the 80."""
    net = in_memory_model(Changed(lambda x: x.flip(1)).eval())
    run = [*[image for image in range(24) if image % 4 > 1][:10], 0, 1]
    assert "--order bgr" in "".join(suspicions(net, images(), run, CPU))


class Stubborn(Colours):
    """Keeps its dropout in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def train(self, mode: bool = True) -> "Stubborn":
        return super().train(True)


class BatchStatistics(Colours):
    def forward(self, x: Tensor) -> Tensor:
        return (
            super().forward(x) - F.batch_norm(x, None, None, training=True).mean((1, 2, 3))[:, None]
        )


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (Stubborn(), r"drop (Dropout) stays in training mode after net.eval()"),
        (Changed(lambda x: F.dropout2d(x, 0.3)), "dropout that is left on"),
        (BatchStatistics(), "batch norm in training mode"),
    ],
)
def test_training_mode_is_named(net: nn.Module, message: str) -> None:
    assert message in said(net)


def test_accuracy_near_chance_is_remarked_on_without_an_expectation() -> None:
    assert "clean accuracy is 25.0 % on the first 64 images" in said(Changed(lambda x: 1 - 9 * x))


def test_another_clean_accuracy_than_expected_stops_the_run() -> None:
    model = in_memory_model(Colours().eval())
    check_expected(model, images(), range(80), CPU, (99.5, 1.0))
    with pytest.raises(SanityFailed, match=r"is 100.00 % on 80 .* expected 76.1 within 1: nothing"):
        check_expected(model, images(), range(80), CPU, (76.1, 1.0))
    # Of 20 images of 80, a sample's chance is allowed for.
    check_expected(model, images(), range(20), CPU, (90.0, 1.0))
