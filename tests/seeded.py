"""Seeded weights and images behind the golden files: the network that the authors' code was run on.

The golden files (tests/golden/*.npz) were made by the authors' TensorFlow graph at depth 50, test
mode, float32, on these weights and images with seed 7. Each holds `names` and `shapes` of all
variables and, for two images: `logits`; `loss`, the cross-entropy with the target label;
`grad_corner` (2, 3, 14, 14), the summed loss's gradient with respect to the network's own input
(BGR, in [-1, 1]) at every 16th row and column; `grad_absmean`; and `advlogits`, the logits after
three steps of targeted PGD from the clean image (eps 16, step 16/3 of 255).
"""

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

GOLDEN = Path(__file__).parent / "golden"
SEED = 7
Array = npt.NDArray[np.float32]


def _rng(*seeds: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([SEED, *seeds]))


def weight(name: str, shape: tuple[int, ...], non_local: float = 1e-3) -> Array:
    """The value of a variable, in TensorFlow's layout: kernels are HWIO.

    `non_local` scales the kernels of blocks after every residual block: their dot products are
    cubes of the features, which at depth 101 leave float32 unless it is small.
    """
    rng = _rng(zlib.crc32(name.encode()))
    if name.endswith("/W"):
        std = np.sqrt(2 / np.prod(shape[:-1])) * (non_local if "/non_local/" in name else 1)
        return (rng.standard_normal(shape) * std).astype(np.float32)
    if name.endswith("gamma"):
        return rng.uniform(0.3, 0.7, shape).astype(np.float32)
    if name.endswith("variance/EMA"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return (rng.standard_normal(shape) * 0.1).astype(np.float32)


def images() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """BGR images (2, 224, 224, 3) in blocks of 16 pixels, and the target label of each."""
    rng = _rng(0)
    coarse = rng.integers(0, 256, (2, 14, 14, 3))
    x = np.kron(coarse, np.ones((1, 16, 16, 1))).astype(np.uint8)
    return x, rng.integers(0, 1000, 2).astype(np.int32)


def shapes(golden: str) -> dict[str, tuple[int, ...]]:
    """Every variable of a golden network, by its TensorFlow name."""
    with np.load(GOLDEN / f"{golden}.npz") as file:
        pairs = zip(file["names"], file["shapes"], strict=True)
        return {str(n): tuple(int(d) for d in s.strip("[]").split(",")) for n, s in pairs}


def checkpoint(variables: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """What an .npz of the authors' release holds, with made-up numbers."""
    return {name: weight(name, shape) for name, shape in variables.items()}
