"""How robust is this image classifier, and did the denoising block help?"""

from importlib import import_module
from typing import Any

__all__ = ["load_model", "pgd"]


def __getattr__(name: str) -> Any:
    # On use, so that `import fdbench` and `fdbench --help` do not load torch.
    if name in __all__:
        return getattr(import_module("fdbench.api"), name)
    raise AttributeError(f"module 'fdbench' has no attribute {name!r}")
