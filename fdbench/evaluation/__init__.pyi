from .audit import audit, find_run, read_run
from .budget import TIMED, Step, announcement, seconds_per_gradient, step_of
from .claim import CLAIM_BATCH, check_claim
from .classify import Classification, Classified, classify_folder, side
from .doctor import CHECKS, examine, gradients_per_image
from .evaluation import Evaluation, check_fit, run_info
from .features import MapPair, distances, in_order, map_pairs, places_of, signs
from .loop import evaluate, evaluate_together
from .mistakes import check_expected, suspicions
from .observation import Watched
from .patient import Patient
from .readings import worst_of
from .until_decided import until_decided

__all__ = [
    "CHECKS",
    "CLAIM_BATCH",
    "TIMED",
    "Classification",
    "Classified",
    "Evaluation",
    "MapPair",
    "Patient",
    "Step",
    "Watched",
    "announcement",
    "audit",
    "check_claim",
    "check_expected",
    "check_fit",
    "classify_folder",
    "distances",
    "evaluate",
    "evaluate_together",
    "examine",
    "find_run",
    "gradients_per_image",
    "in_order",
    "map_pairs",
    "places_of",
    "read_run",
    "run_info",
    "seconds_per_gradient",
    "side",
    "signs",
    "step_of",
    "suspicions",
    "until_decided",
    "worst_of",
]
