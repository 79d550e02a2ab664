from .api import (
    attack,
    autoattack,
    doctor,
    evaluate,
    foolbox,
    load_model,
    pgd,
    read_runs,
    report,
    security_curve,
    train,
    train_attacker,
    transfer,
    verify,
    verify_images,
)
from .data import Dataset, open_data
from .errors import FdbenchError
from .models import Preprocessed
from .specs import ModelSpec
from .store import Run

__all__ = [
    "Dataset",
    "FdbenchError",
    "ModelSpec",
    "Preprocessed",
    "Run",
    "attack",
    "autoattack",
    "doctor",
    "evaluate",
    "foolbox",
    "load_model",
    "open_data",
    "pgd",
    "read_runs",
    "report",
    "security_curve",
    "train",
    "train_attacker",
    "transfer",
    "verify",
    "verify_images",
]
