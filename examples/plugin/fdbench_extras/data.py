"""Stripes in four directions: a data set that is made, not downloaded."""

import numpy as np

from fdbench.data import DataKind, Dataset, Request, in_memory

_COUNT = {"train": 600, "test": 120}
_PX = 16
_NAMES = ("horizontal", "vertical", "rising", "falling")


def open_stripes(request: Request) -> Dataset:
    """Grey images (N, 16, 16) of noisy stripes; the class is their direction."""
    count = _COUNT[request.part]
    rng = np.random.default_rng(len(request.part))  # the test images are not the training's
    label = np.arange(count) % len(_NAMES)
    down, right = np.mgrid[:_PX, :_PX]
    place = np.stack([down, right, down + right, down - right])[label]
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1))
    noise = rng.normal(0, 0.2, place.shape)
    x = 0.5 + 0.3 * np.sin(2 * np.pi * place / 4 + phase) + noise
    pixels = (255 * x.clip(0, 1)).round().astype(np.uint8)
    return in_memory(request, pixels, label, len(_NAMES), _NAMES)


STRIPES = DataKind("stripes", "600 + 120 made images of stripes (16 px, 4 classes)", open_stripes)
