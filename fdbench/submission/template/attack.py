"""An attack to start from: random noise of size EPS, in the competition's contract.

Called by run_attack.sh as `attack.py INPUT_DIR OUTPUT_DIR EPS`: writes to OUTPUT_DIR one PNG for
each in INPUT_DIR, of the same name and size, no pixel changed by more than EPS (of 255). It needs
NumPy and Pillow.
"""

import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image


def attack(
    image: npt.NDArray[np.uint8], eps: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Returns the RGB image (H, W, 3), each value moved by +eps or -eps: put your attack here."""
    noise = rng.choice([-eps, eps], image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def main(input_dir: Path, output_dir: Path, eps: int) -> None:
    for path in sorted(input_dir.glob("*.png")):
        rng = np.random.default_rng(zlib.crc32(path.name.encode()))  # the same noise every time
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        # PNG, never JPEG: JPEG would change every pixel once more.
        Image.fromarray(attack(pixels, eps, rng)).save(output_dir / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
