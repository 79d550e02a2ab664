"""How robust is this image classifier, and did the denoising block help?"""

from importlib import import_module
from typing import Any

_HOME = {
    "Preprocessed": "fdbench.models",
    "load_model": "fdbench.api",
    "pgd": "fdbench.api",
}
__all__ = ["Preprocessed", "load_model", "pgd"]


def __getattr__(name: str) -> Any:
    # On use, so that `import fdbench` and `fdbench --help` do not load torch.
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'fdbench' has no attribute {name!r}")
