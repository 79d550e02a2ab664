"""Momentum on images cut into blocks that are shuffled and rotated: block shuffle and rotation.

Wang et al. 2024, "Boosting Adversarial Transferability by Block Shuffle and Rotation": blocks of
random sizes, shuffled and rotated by up to 24 degrees (released code). 3 x 3 blocks and 20 copies
are the TransferAttack benchmark's.
"""

import numpy as np
import numpy.typing as npt
import torch

from fdbench.attacks.transfer.draws import few
from fdbench.attacks.transfer.ensemble import Task
from fdbench.attacks.transfer.method import LATER, MOMENTUM, Method
from fdbench.attacks.transfer.momentum import climb, count_passes, over_views
from fdbench.attacks.transfer.warp import resample
from fdbench.types import Images

Numbers = npt.NDArray[np.float32]
_OUTSIDE = -3.0  # a grid position far beyond the image's border at -1


def count_draws(blocks: int) -> int:
    """Counts an image's random numbers: cuts and order of columns and of their rows, angles."""
    return (2 * blocks - 1) + blocks * (2 * blocks - 1) + blocks**2


def _pieces(length: int, numbers: Numbers) -> list[Numbers]:
    """Cuts the positions 0 .. length - 1 at random and shuffles the pieces; some may be empty."""
    blocks = (len(numbers) + 1) // 2
    cuts = np.sort((numbers[: blocks - 1] * length).astype(np.int64))
    pieces = np.split(np.arange(length, dtype=np.float32), cuts)
    return [pieces[i] for i in np.argsort(numbers[blocks - 1 :], kind="stable")]


def _rotated(rows: Numbers, columns: Numbers, angle: float) -> Numbers:
    """Returns (rows, columns, 2) positions of a block rotated about its middle; NaN outside it."""
    y, x = np.meshgrid(rows - rows.mean(), columns - columns.mean(), indexing="ij")
    turned_x = np.cos(angle) * x - np.sin(angle) * y
    turned_y = np.sin(angle) * x + np.cos(angle) * y
    beyond = (np.abs(turned_x) > len(columns) / 2) | (np.abs(turned_y) > len(rows) / 2)
    places = np.stack([turned_x + columns.mean(), turned_y + rows.mean()], axis=2)
    places[beyond] = np.nan
    return places.astype(np.float32)


def grid(height: int, width: int, blocks: int, degrees: float, numbers: Numbers) -> Numbers:
    """Returns (height, width, 2) source positions of the pixels of a shuffled image."""
    line = 2 * blocks - 1
    angles = np.deg2rad(degrees) * (2 * numbers[-(blocks**2) :] - 1)
    places = np.empty((height, width, 2), np.float32)
    left = 0
    for i, columns in enumerate(_pieces(width, numbers[:line])):
        top = 0
        for j, rows in enumerate(_pieces(height, numbers[line * (i + 1) : line * (i + 2)])):
            if len(rows) and len(columns):
                block = places[top : top + len(rows), left : left + len(columns)]
                block[:] = _rotated(rows, columns, float(angles[i * blocks + j]))
            top += len(rows)
        left += len(columns)
    scaled = (2 * places + 1) / np.array([width, height], np.float32) - 1
    return np.nan_to_num(scaled, nan=_OUTSIDE).astype(np.float32)


def shuffle(task: Task) -> Images:
    """Follows the mean gradient over `copies` shuffled images per step."""
    objective = task.objective()
    blocks, degrees = task.knobs["blocks"], task.knobs["degrees"]

    def show(x: Images, stream: str) -> Images:
        draws = few(task.seed, f"shuffle-{stream}", task.ids, count_draws(blocks), x).cpu().numpy()
        height, width = x.shape[2:]
        grids = np.stack([grid(height, width, blocks, degrees, row) for row in draws])
        return resample(x, torch.from_numpy(grids).to(x.device))

    return climb(task.x, task.threat, task.knobs, over_views(objective, task.knobs["copies"], show))


SHUFFLE = Method(
    shuffle, count_passes, {**MOMENTUM, "copies": 20, "blocks": 3, "degrees": 24.0}, LATER
)
