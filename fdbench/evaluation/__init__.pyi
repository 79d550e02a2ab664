from .audit import audit, find_run, read_run
from .classify import Classification, Classified, classify_folder, side
from .doctor import CHECKS, Patient, examine
from .evaluation import Evaluation, check_fit, run_info
from .loop import evaluate
from .readings import worst_of

__all__ = [
    "CHECKS",
    "Classification",
    "Classified",
    "Evaluation",
    "Patient",
    "audit",
    "check_fit",
    "classify_folder",
    "evaluate",
    "examine",
    "find_run",
    "read_run",
    "run_info",
    "side",
    "worst_of",
]
