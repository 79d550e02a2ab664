"""The competition's two calls: an attack turns images into images, a defence into classes."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from fdbench.data import LABEL_BASE, read_classes
from fdbench.errors import BadValue, FdbenchError
from fdbench.files import temporary_folder, writing
from fdbench.submission.outcome import Outcome, read_all, whole_pixels
from fdbench.submission.process import ProcessResult, Submission, execute
from fdbench.types import Batch, Images, Labels
from fdbench.units import pixels

BATCH = 100  # images in one run of an attack: eval_infra, image_batches.py
LIMIT_S = 500.0  # seconds for one such run: eval_infra, worker.py


def eps_in_pixels(eps: float) -> int:
    """Returns `eps` (image units) in whole pixels. Raises BadValue unless 1 .. 255."""
    whole = round(255 * eps)
    if abs(255 * eps - whole) > 1e-6 or not 1 <= whole <= 255:
        raise BadValue(
            f"--eps {pixels(eps)}: the competition needs whole pixels, 1/255 .. 255/255."
        )
    return whole


def write_images(folder: Path, files: Sequence[str], x: Images) -> None:
    """Writes the images as PNGs of these names into a new folder."""
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
    """Runs the submission on a batch (of BATCH images, for the competition's limit).

    `eps` is 1 .. 255; `targets`, classes from 0, are for targeted attacks only. If a run fails, or
    is stopped after `limit_s` seconds, the images written until then count. Raises BadValue if
    targets and submission don't match, FdbenchError if it can't be started.
    """
    if submission.targeted != (targets is not None):
        raise BadValue(
            f"{submission.folder} is of type {submission.kind!r}: "
            f"{'it needs --targeted.' if submission.targeted else 'leave out --targeted.'}"
        )
    # An id may be a path; quoted, it is a file name.
    files = [f"{quote(str(image), safe='')}.png" for image in batch.ids]
    with temporary_folder() as work:
        inputs, outputs = work / "input", work / "output"
        write_images(inputs, files, batch.x)
        with writing(inputs):
            outputs.mkdir()
            if targets is not None:
                _write_targets(inputs / "target_class.csv", files, targets)
        words = [str(inputs), str(outputs), str(eps)]
        run = execute(submission, words, limit_s, inputs=inputs, output=outputs)
        return read_all([outputs / file for file in files], batch, eps, run)


def run_defense(
    submission: Submission, inputs: Path, output: Path, limit_s: float = LIMIT_S
) -> tuple[dict[str, int], ProcessResult]:
    """Runs a defence; returns its classes (from 0; 1 .. 1000 in `output`) by image id, and the run.

    The defence may write to the folder of `output`. Raises FdbenchError if `output` exists already,
    is not written, or is malformed.
    """
    if output.exists():
        raise FdbenchError(f"{output} exists: move it away, or name another file.")
    inputs, output = inputs.resolve(), output.resolve()
    words = [str(inputs), str(output)]
    run = execute(submission, words, limit_s, inputs=inputs, output=output.parent)
    if not output.is_file():
        raise FdbenchError("\n".join([f"{submission.folder} wrote no {output}:", *run.messages()]))
    return read_classes(output), run
