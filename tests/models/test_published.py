"""Weights that others trained and published have their published clean accuracy here."""

import os
from pathlib import Path

import pytest
import torch

from fdbench.data import open_data
from fdbench.evaluation import check_expected
from fdbench.models import open_model
from fdbench.specs import Stated
from fdbench.store import Workspace

# The architecture of akamaster/pytorch_resnet_cifar10, with shortcuts of option A.
RESNET = """
import torch.nn.functional as F
from torch import nn
class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, (outputs - inputs) // 2
    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        x = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(x, (0, 0, 0, 0, self.more, self.more)))
class ResNet(nn.Module):
    def __init__(self, depth=20):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        inputs, count = 16, (depth - 2) // 6
        for number, width in enumerate((16, 32, 64), 1):
            blocks = []
            for i in range(count):
                blocks.append(Block(inputs, width, 2 if number > 1 and i == 0 else 1))
                inputs = width
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)
    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))
"""
PUBLISHED = {20: 91.73, 32: 92.62, 44: 93.11, 56: 93.39}  # the repository's README


@pytest.mark.slow
@pytest.mark.parametrize("depth", PUBLISHED)
def test_a_published_network_has_its_published_accuracy(depth: int, tmp_path: Path) -> None:
    shared = os.environ.get("FDBENCH_TEST_DATA")
    files = sorted(Path(shared or "").glob(f"weights/akamaster/resnet{depth}-*.th"))
    if not shared or not files:
        pytest.skip("needs FDBENCH_TEST_DATA with weights/akamaster and data/cifar10")
    (tmp_path / "resnet.py").write_text(RESNET)
    stated = Stated(
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
        factory=f"{tmp_path}/resnet.py:ResNet?depth={depth}",
    )  # fmt: skip
    model = open_model(stated.added_to(str(files[0])), Workspace(tmp_path))
    data = open_data(f"npz:{shared}/data/cifar10", "test")
    assert len(data) == 10_000
    check_expected(model, data, range(len(data)), torch.device("cpu"), (PUBLISHED[depth], 0.05))
