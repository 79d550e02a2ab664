"""ResNets that others trained on CIFAR-10, for `--model aka.py:r20` and `--surrogate aka.py:r32`.

Architecture and weights: akamaster/pytorch_resnet_cifar10, clean accuracy 91.7 to 93.4 %, shortcuts
of option A. The weights are its files resnet*.th in akamaster/ beside this file.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions; the shortcut skips pixels and pads channels with zeros (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        x = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(x, (0, 0, 0, 0, self.more, self.more)))


class ResNet(nn.Module):
    """6 n + 2 layers: three stages of n blocks."""

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        inputs = 16
        for stage, width in enumerate((16, 32, 64), 1):
            blocks = []
            for place in range((depth - 2) // 6):
                blocks.append(Block(inputs, width, 2 if stage > 1 and place == 0 else 1))
                inputs = width
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        x = F.relu(self.bn1(self.conv1((x - mean) / std)))
        for stage in (1, 2, 3):
            x = self.get_submodule(f"layer{stage}")(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def aka(depth: int | str) -> nn.Module:
    """The ResNet of that depth: `aka.py:aka?depth=44`."""
    (path,) = (Path(__file__).parent / "akamaster").glob(f"resnet{depth}-*.th")
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    net = ResNet(int(depth))
    net.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return net.eval()


def r20() -> nn.Module:
    """The ResNet of 20 layers."""
    return aka(20)


def r32() -> nn.Module:
    """The ResNet of 32 layers."""
    return aka(32)
