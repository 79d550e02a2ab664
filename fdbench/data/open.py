"""Opens data sets by name; pixels are scaled in fdbench.data only (contract C1)."""

import math
from pathlib import Path

from fdbench.data.catalogue import DATA, DataKind
from fdbench.data.dataset import SPLITS, Dataset, Request
from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.types import Images

_ROUNDING = 1e-6  # how far outside [0, 1] a value may be (contract C1)


_FLAGS = {"data_dir": "--data-dir", "download": "--download", "px": "--px"}


def _find(ref: str) -> tuple[DataKind, Path | None]:
    """The kind of data set named by `ref`, and the path after its colon, if any."""
    head, colon, tail = ref.partition(":")
    kind = DATA.get(head)
    if kind is None or (colon and ":" not in kind.form):
        hint = "Your own images: folder:DIR or npz:PATH; `fdbench list data` shows all."
        if Path(ref).exists():
            hint = f"To open that path: folder:{ref} or npz:{ref}."
        forms = [DATA[name].form for name in DATA]
        raise unknown("data set", ref if kind else head, forms if kind else DATA, hint)
    if ":" in kind.form and not tail:
        raise BadValue(f"{ref!r} needs a path: {kind.form}.")
    return kind, Path(tail).expanduser() if tail else None


def open_data(
    ref: str,
    split: str = "test",
    *,
    data_dir: Path | None = None,
    download: bool = False,
    px: int | None = None,
) -> Dataset:
    """One split of a data set: RGB images in [0, 1] with their labels, read when they are used.

    Args:
        ref: as after `--data`: a name of `fdbench list data`, with a path after a colon where its
            form has one.
        split: "test" (ImageNet's val), "held-out" (a fixed slice of the training set, for choosing
            settings) or "train" (the rest of it).
        data_dir: folder of downloaded or unpacked data; None: the default one.
        download: fetch the data if they are missing.
        px: side to which image files are resized; data in arrays keep theirs.

    Returns:
        The data set: `fetch(indices)` gives a batch of images (B, 3, H, W) and labels (B,).

    Raises:
        BadValue: for an unknown name, or an option that has no meaning for it.
        FdbenchError: for data that are missing or malformed.

    Example:
        >>> images = fdbench.open_data("fashion-mini")
        >>> tuple(images.fetch(range(2)).x.shape)
        (2, 3, 28, 28)
    """
    kind, path = _find(ref)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    given = {"data_dir": data_dir is not None, "download": download, "px": px is not None}
    for option, flag in _FLAGS.items():
        if given[option] and option not in kind.takes:
            allowed = ", ".join(_FLAGS[name] for name in kind.takes) or "no such option"
            raise BadValue(f"{flag} does not apply to --data {kind.form}, which takes {allowed}.")
    if px is not None and px < 1:
        raise BadValue(f"--px must be at least 1, got {px}.")
    return kind.open(Request(ref, split, path, data_dir, download, px))


def check_images(x: Images) -> None:
    """Checks that every value is in [0, 1], up to 1e-6 (contract C1).

    Raises FdbenchError, naming the likely cause, if one is not or is NaN.
    """
    if x.numel() == 0:
        return
    low, high = x.min().item(), x.max().item()  # NaN, if any value is
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return
    causes = {
        "NaN: an earlier computation failed.": math.isnan(low),
        "Negative: probably normalised already. Models normalise their input: give [0, 1].": (
            low < -_ROUNDING
        ),
        "Probably 0 .. 255: divide by 255.": high > 2,
    }
    cause = next((text for text, holds in causes.items() if holds), "Clamp to [0, 1].")
    raise FdbenchError(f"images must lie in [0, 1], got {low:.4g} .. {high:.4g}.\n{cause}")
