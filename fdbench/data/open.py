"""Data sets by name, as batches of images in [0, 1]; the only place that
scales pixels (contract C1).
"""

import math
from pathlib import Path

from fdbench.data.catalogue import DATA, DataKind
from fdbench.data.dataset import SPLITS, Dataset, Request
from fdbench.errors import BadValue, FdbenchError, unknown
from fdbench.types import Images

_ROUNDING = 1e-6  # how far outside [0, 1] a value may lie (contract C1)


_FLAGS = {"data_dir": "--data-dir", "download": "--download", "px": "--px"}


def _find(ref: str) -> tuple[DataKind, Path | None]:
    """The kind of data set that `ref` names, and the path after its colon, if it takes one."""
    head, colon, tail = ref.partition(":")
    kind = DATA.get(head)
    if kind is None or (colon and ":" not in kind.form):
        hint = "Your own images: folder:DIR or npz:PATH; `fdbench list data` shows all."
        if Path(ref).exists():
            hint = f"For what lies there: folder:{ref} or npz:{ref}."
        forms = [DATA[name].form for name in DATA]
        raise unknown("data set", ref if kind else head, forms if kind else DATA, hint)
    if ":" in kind.form and not tail:
        raise BadValue(f"{ref!r} does not say where the data lie: {kind.form}.")
    return kind, Path(tail).expanduser() if tail else None


def open_data(
    ref: str,
    split: str,
    *,
    data_dir: Path | None = None,
    download: bool = False,
    px: int | None = None,
) -> Dataset:
    """One split of a data set: "train", "held-out" or "test".

    `ref` is a name in DATA, with a path behind a colon where the form of that kind has one.

    "test" is the evaluation split (ImageNet's val); "held-out" is a fixed slice of the training
    set, for choosing settings, and "train" the rest. `px` is the size that image files are resized
    to; data in arrays keep theirs. Raises BadValue for an unknown name or an option that has no
    meaning for it, FdbenchError for data that are missing or malformed.
    """
    kind, path = _find(ref)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    given = {"data_dir": data_dir is not None, "download": download, "px": px is not None}
    for option, flag in _FLAGS.items():
        if given[option] and option not in kind.takes:
            allowed = ", ".join(_FLAGS[name] for name in kind.takes) or "no such option"
            raise BadValue(f"{flag} has no meaning for --data {kind.form}, which takes {allowed}.")
    if px is not None and px < 1:
        raise BadValue(f"--px must be at least 1, got {px}.")
    return kind.open(Request(ref, split, path, data_dir, download, px))


def check_images(x: Images) -> None:
    """Nothing, if every value lies in [0, 1] give or take 1e-6 (contract C1).

    Raises FdbenchError naming the likely cause otherwise, NaN included.
    """
    if x.numel() == 0:
        return
    low, high = x.min().item(), x.max().item()  # NaN, if any value is
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return
    causes = {
        "NaN: an earlier computation failed.": math.isnan(low),
        "Negative: probably normalised already. Models normalise by themselves: give [0, 1].": (
            low < -_ROUNDING
        ),
        "Probably 0 .. 255: divide by 255.": high > 2,
    }
    cause = next((text for text, holds in causes.items() if holds), "Clamp to [0, 1].")
    raise FdbenchError(f"images must lie in [0, 1], got {low:.4g} .. {high:.4g}.\n{cause}")
