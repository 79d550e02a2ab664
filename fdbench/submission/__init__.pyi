from .contract import BATCH, LIMIT_S, eps_in_pixels, run_attack, run_defense, write_images
from .outcome import STATUSES, Outcome, read_folder, summary
from .process import ProcessResult, Submission, open_submission
from .template import attack_template
from .tree import fingerprint

__all__ = [
    "BATCH",
    "LIMIT_S",
    "STATUSES",
    "Outcome",
    "ProcessResult",
    "Submission",
    "attack_template",
    "eps_in_pixels",
    "fingerprint",
    "open_submission",
    "read_folder",
    "run_attack",
    "run_defense",
    "summary",
    "write_images",
]
