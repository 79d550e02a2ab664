"""Make the embedded data from the whole Fashion-MNIST, reproducibly byte for byte.

    python -m fdbench.data.embedded.make_fashion_mini FOLDER [OUTPUT]

FOLDER holds the four .gz files as Zalando Research publishes them (on Debian and Ubuntu the package
dataset-fashion-mnist installs them). OUTPUT is the package's own file if left out. Another release
of liblzma may compress to other bytes; the unpacked data are always the same.
"""

from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from fdbench.data.embedded import COUNTS, FILE, pack
from fdbench.data.idx import read_part

_CLASSES = 10


def balanced(y: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.int64]:
    """Indices of the first count / 10 images of each class, in file order."""
    first = [np.flatnonzero(y == label)[: count // _CLASSES] for label in range(_CLASSES)]
    return np.sort(np.concatenate(first))


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path), default=Path(__file__).with_name(FILE))
def main(folder: Path, output: Path) -> None:
    """Write OUTPUT: the first 600 and 100 images of each class of FOLDER's two parts."""
    parts = {}
    for part, count in COUNTS.items():
        x, y = read_part(folder, part)
        rows = balanced(y, count)
        parts[part] = x[rows], y[rows]
    output.write_bytes(pack(parts))


if __name__ == "__main__":
    main()
