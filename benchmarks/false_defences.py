"""Known-false defences around a network: each hides where its loss rises, none makes it robust.

    --model 'benchmarks/false_defences.py:around?base=r20.safetensors&kind=shattered'

The kinds are those that published attacks broke: Athalye et al. 2018, "Obfuscated Gradients"
(shattered, stochastic, cut gradients), Carlini and Wagner 2016 (temperature). `masked.py` has those
that sit inside a network, k-WTA and MeanSparse. A doctor must not be fooled by any.
"""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fdbench.models import open_model
from fdbench.store import Workspace

LEVELS = 16  # of a quantised colour


class Around(nn.Module):
    """A network with something before or behind it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.px = getattr(inner, "px", None)


class Quantised(Around):
    """Rounds colours: the gradient is zero everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner((x * (LEVELS - 1)).round() / (LEVELS - 1))
        return logits


class Jpeg(Around):
    """Compresses each image by an encoder that has no gradient."""

    quality = 75

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(torch.stack([self._decoded(one) for one in x.detach()]))
        return logits

    def _decoded(self, image: Tensor) -> Tensor:
        pixels = (image * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        coded = BytesIO()
        Image.fromarray(pixels).save(coded, "jpeg", quality=self.quality)
        decoded = torch.from_numpy(np.array(Image.open(coded)))
        return (decoded.permute(2, 0, 1).float() / 255).to(image.device)


class Thermometer(Around):
    """Reads a colour as the number of thresholds below it (Buckman et al. 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        thresholds = (torch.arange(LEVELS, device=x.device) + 0.5) / LEVELS
        code = (x[..., None] > thresholds).float()  # (B, 3, H, W, LEVELS)
        logits: Tensor = self.inner(code.mean(-1))
        return logits


class Sharp(Around):
    """Multiplies the logits, so that the softmax saturates and its gradient underflows.

    A network distilled at temperature 100 (Papernot et al. 2016) does so by 100.
    """

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__(inner)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.factor * self.inner(x)
        return logits


class Noisy(Around):
    """Adds noise to every image, each time anew."""

    sigma = 0.03

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x + self.sigma * torch.randn_like(x))
        return logits


class Shattered(Around):
    """Adds a fast wave of small height: the gradient is right, over a thousandth of a grey level.

    Within the forward method, where no operation of the network shows.
    """

    height, frequency = 0.01, 1e4

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x + self.height * torch.sin(self.frequency * x))
        return logits


KINDS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "quantised": Quantised,
    "jpeg": Jpeg,
    "thermometer": Thermometer,
    "times-10000": lambda inner: Sharp(inner, 1e4),
    "temperature-100": lambda inner: Sharp(inner, 100.0),
    "noisy": Noisy,
    "shattered": Shattered,
}


def around(base: str, kind: str) -> nn.Module:
    """A false defence of one of KINDS around a checkpoint of fdbench's."""
    model = open_model(base, Workspace(Path(base).parent))
    model.net.px = model.card.spec.px if model.card else None  # type: ignore[assignment]
    return KINDS[kind](model.net).eval()
