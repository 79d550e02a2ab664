from .attack import attack
from .classify import classify
from .cli import COMMANDS, main
from .compare import compare
from .doctor import doctor
from .eval_ import eval_
from .export import export
from .figures import figures
from .import_ import import_
from .info import info
from .list import list_group
from .report import report
from .runs import runs
from .submission import submission
from .train import train
from .train_attacker import train_attacker
from .verify import verify
from .view import view

__all__ = [
    "COMMANDS",
    "attack",
    "classify",
    "compare",
    "doctor",
    "eval_",
    "export",
    "figures",
    "import_",
    "info",
    "list_group",
    "main",
    "report",
    "runs",
    "submission",
    "train",
    "train_attacker",
    "verify",
    "view",
]
