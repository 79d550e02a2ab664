"""A competition's defence as a network: images go out as PNGs, classes come back."""

import math

import torch
from torch import nn

from fdbench.console import warn
from fdbench.errors import BadValue
from fdbench.files import temporary_folder
from fdbench.submission import BATCH, LIMIT_S, Submission, run_defense, write_images
from fdbench.types import Images, Logits

CLASSES = 1000  # the competition's
_NO_ANSWER = CLASSES  # an extra class, which is never the label
_WHOLE = 1e-3  # of a pixel: float32 rounding allowed in whole pixels


class Defense(nn.Module):
    """Images (B, 3, H, W) of whole pixels -> (B, 1001): 1 at the class the defence returns, else 0.

    An image without an answer gets the last class, which no label has: it counts as wrong. There
    are no gradients, so this is a victim for black-box attacks only. Raises BadValue if a gradient
    is needed or images are not whole pixels; FdbenchError if the submission wrote no readable
    output.
    """

    def __init__(self, submission: Submission) -> None:
        super().__init__()
        self.submission = submission

    def forward(self, x: Images) -> Logits:
        folder = self.submission.folder
        if x.requires_grad:
            raise BadValue(
                f"{folder} has no gradients: it is a defence that returns only classes.\n"
                f"Attack it black-box: fdbench attack transfer --use SET --model defense:{folder}"
            )
        _refuse_fractions(x)
        names = [f"{i:06d}" for i in range(len(x))]
        with temporary_folder() as work:
            inputs, output = work / "input", work / "result.csv"
            write_images(inputs, [f"{name}.png" for name in names], x)
            limit_s = LIMIT_S * math.ceil(len(x) / BATCH)
            answers, run = run_defense(self.submission, inputs, output, limit_s)
        for message in run.messages():
            warn(f"{folder.name}: {message}")
        missing = [name for name in names if name not in answers]
        if missing:
            warn(f"{folder.name}: {len(missing)} images without an answer count as wrong")
        classes = torch.tensor([answers.get(name, _NO_ANSWER) for name in names])
        return nn.functional.one_hot(classes, CLASSES + 1).to(x)


def _refuse_fractions(x: Images) -> None:
    exact = 255 * x
    if (exact - exact.round()).abs().max() > _WHOLE:
        raise BadValue("a defence takes PNGs, but these images have values between whole pixels.")
