"""Submissions in the competition's layout: folders with an attack or a defence in any language.

Source: NIPS 2017's development kit and the evaluation's own code (cleverhans 3.1.0,
examples/nips17_adversarial_competition), a layout that CAAD 2018 kept. Three deviations. A
submission runs on this machine, not in its container. Outputs that are not PNG are refused, where
the kit took .jpg: JPEG moves pixels by itself. Outputs of another size are refused, where the
evaluation resized them: what was resized is not what the attacker made. Whatever is refused or
missing counts as unattacked: the clean image stands in its place.
"""

from fdbench.submission.contract import (
    BATCH,
    LIMIT_S,
    eps_in_pixels,
    run_attack,
    run_defense,
    write_images,
)
from fdbench.submission.outcome import STATUSES, Outcome, read_folder, summary
from fdbench.submission.process import Run, Submission, fingerprint, open_submission

__all__ = [
    "BATCH",
    "LIMIT_S",
    "STATUSES",
    "Outcome",
    "Run",
    "Submission",
    "eps_in_pixels",
    "fingerprint",
    "open_submission",
    "read_folder",
    "run_attack",
    "run_defense",
    "summary",
    "write_images",
]
