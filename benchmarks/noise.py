"""Images of noise for benchmarks of training, which ask how long a step takes."""

import numpy as np

from fdbench.data import Dataset, Request, in_memory


def noise(count: int, px: int, classes: int = 10) -> Dataset:
    """A data set in memory, always the same, with the classes in turn."""
    x = np.random.default_rng(0).integers(0, 256, (count, px, px, 3), np.uint8)
    return in_memory(Request("noise", "train"), x, np.arange(count) % classes, classes=classes)
