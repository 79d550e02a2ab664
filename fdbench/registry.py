"""What a table names as "module:object", imported when it is used."""

from importlib import import_module
from typing import Any


def imported(where: str) -> Any:
    """The object behind "module:object"."""
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)
