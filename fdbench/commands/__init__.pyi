from .attack import attack
from .classify import classify
from .doctor import doctor
from .import_ import import_
from .list import list_group
from .report import report
from .submission import submission
from .train import train
from .train_attacker import train_attacker
from .verify import verify

__all__ = [
    "attack",
    "classify",
    "doctor",
    "import_",
    "list_group",
    "report",
    "submission",
    "train",
    "train_attacker",
    "verify",
]
