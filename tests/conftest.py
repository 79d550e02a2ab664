"""Tiny networks and made-up images: nothing here needs a download or a second."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from pandas import DataFrame
from torch import nn

from fdbench.reporting.figures import accuracy_against_attackers, accuracy_against_iterations
from fdbench.types import Batch

if os.environ.get("FDBENCH_TEST_DEVICE") == "pretended":
    sys.path.append(str(Path(__file__).parent / "machine"))  # for processes that tests start
    import pretend  # noqa: F401

Figure = dict[str, bytes]


class Linear(nn.Module):
    """logits = w x + b on flattened images: its exact robustness has a closed form."""

    def __init__(self, classes: int, px: int, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.fc = nn.Linear(3 * px * px, classes)
        with torch.no_grad():
            self.fc.weight.copy_(torch.randn(self.fc.weight.shape, generator=rng) / 10)
            self.fc.bias.copy_(torch.randn(classes, generator=rng) / 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc((x - 0.5).flatten(1))


class Small(nn.Module):
    """Two convolutions with batch norm whose statistics are not the initial ones."""

    def __init__(self, classes: int = 5, seed: int = 0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 16, classes)
        with torch.no_grad():
            for tensor in self.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_(torch.randn(tensor.shape, generator=rng) / 3)
            for norm in (self.bn1, self.bn2):
                assert norm.running_var is not None
                norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=rng) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return self.head(torch.relu(self.bn2(self.conv2(y))))

    def head(self, y: torch.Tensor) -> torch.Tensor:
        return self.fc(nn.functional.adaptive_avg_pool2d(y, 4).flatten(1))


def frozen(net: nn.Module) -> nn.Module:
    return net.eval().requires_grad_(False)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread, so that sums have a fixed order: for bit-identical training."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_net() -> nn.Module:
    return frozen(Small())


@pytest.fixture
def batch() -> Batch:
    rng = torch.Generator().manual_seed(1)
    x = torch.rand((12, 3, 8, 8), generator=rng)
    label = torch.randint(0, 5, (12,), generator=rng)
    return Batch(x, label, tuple(range(12)))


@pytest.fixture
def real_data() -> Path:
    """The folder with real images and weights, where the machine has one."""
    folder = os.environ.get("FDBENCH_TEST_DATA")
    if not folder:
        pytest.skip("FDBENCH_TEST_DATA is not set: no real data on this machine")
    return Path(folder)


_DRAWN: dict[tuple[str, ...], Figure] = {}  # by the tables drawn


def _drawn_once(render: Callable[..., Figure]) -> Callable[..., Figure]:
    def once(*tables: DataFrame) -> Figure:
        key = (render.__module__, *(table.to_csv() for table in tables))
        if key not in _DRAWN:
            _DRAWN[key] = render(*tables)
        return _DRAWN[key]

    return once


@pytest.fixture(autouse=True)
def figures_drawn_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws a figure of the same tables once: that takes most of a report's time.

    Tests marked `draws` are about the drawing, and draw anew.
    """
    if "draws" in request.keywords:
        return
    for figure in (accuracy_against_iterations, accuracy_against_attackers):
        monkeypatch.setattr(figure, "render", _drawn_once(figure.render))
