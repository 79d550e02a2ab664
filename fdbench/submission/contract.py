"""The competition's two calls: images to an attack and back, images to a defence, classes back."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from fdbench.data import LABEL_BASE, read_classes
from fdbench.errors import BadValue, FdbenchError
from fdbench.store import writing
from fdbench.submission.outcome import Outcome, read_all, whole_pixels
from fdbench.submission.process import ProcessResult, Submission, execute
from fdbench.types import Batch, Images, Labels
from fdbench.units import pixels

BATCH = 100  # images in one run of an attack: eval_infra, image_batches.py
LIMIT_S = 500.0  # seconds for one such run: eval_infra, worker.py


def eps_in_pixels(eps: float) -> int:
    """`eps` (image units) as the competition counts it. Raises BadValue unless 1 .. 255."""
    whole = round(255 * eps)
    if abs(255 * eps - whole) > 1e-6 or not 1 <= whole <= 255:
        raise BadValue(
            f"--eps {pixels(eps)}: the competition's images move by whole pixels, 1/255 .. 255/255."
        )
    return whole


def write_images(folder: Path, files: Sequence[str], x: Images) -> None:
    """The images as PNGs of these names, in a folder that is made for them."""
    with writing(folder):
        folder.mkdir()
        for file, image in zip(files, whole_pixels(x).permute(0, 2, 3, 1), strict=True):
            Image.fromarray(image.numpy()).save(folder / file, compress_level=1)


def _write_targets(path: Path, names: Sequence[str], targets: Labels) -> None:
    lines = [
        f"{name},{target + LABEL_BASE}\n"
        for name, target in zip(names, targets.tolist(), strict=True)
    ]
    path.write_text("".join(lines))


def run_attack(
    submission: Submission,
    batch: Batch,
    eps: int,
    *,
    limit_s: float = LIMIT_S,
    targets: Labels | None = None,
) -> Outcome:
    """What the submission makes of a batch (of BATCH images, for the competition's limit).

    `eps` is 1 .. 255; `targets`, classes from 0, are for targeted attacks and for them alone. A run
    that fails, or is stopped after `limit_s` seconds, counts with what it wrote until then. Raises
    BadValue if targets and submission don't match, FdbenchError if it can't be started.
    """
    if submission.targeted != (targets is not None):
        raise BadValue(
            f"{submission.folder} is of type {submission.kind!r}: "
            f"{'it needs --targeted.' if submission.targeted else 'leave out --targeted.'}"
        )
    # An id may be a path, which here must be one file's name.
    files = [f"{quote(str(image), safe='')}.png" for image in batch.ids]
    with tempfile.TemporaryDirectory(prefix="fdbench-", ignore_cleanup_errors=True) as work:
        inputs, outputs = Path(work) / "input", Path(work) / "output"
        write_images(inputs, files, batch.x)
        with writing(inputs):
            outputs.mkdir()
            if targets is not None:
                _write_targets(inputs / "target_class.csv", files, targets)
        run = execute(submission, [str(inputs), str(outputs), str(eps)], limit_s)
        return read_all([outputs / file for file in files], batch, eps, run)


def run_defense(
    submission: Submission, inputs: Path, output: Path, limit_s: float = LIMIT_S
) -> tuple[dict[str, int], ProcessResult]:
    """The defence's classes, from 0, by image id, which it wrote to `output` (1 .. 1000), and how.

    Raises FdbenchError if the file is there before it, if it wrote none, or one that says something
    else.
    """
    if output.exists():
        raise FdbenchError(f"{output} exists: move it away, or name another file.")
    run = execute(submission, [str(inputs.resolve()), str(output.resolve())], limit_s)
    if not output.is_file():
        raise FdbenchError("\n".join([f"{submission.folder} wrote no {output}:", *run.messages()]))
    return read_classes(output), run
