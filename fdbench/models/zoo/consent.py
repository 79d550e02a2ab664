"""Whether sources may download: only where the user typed --download."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from fdbench.console import say
from fdbench.errors import FdbenchError
from fdbench.models.zoo.users_code import brief

_ALLOWED: ContextVar[bool] = ContextVar("download", default=False)


@contextmanager
def downloading(allowed: bool) -> Iterator[None]:
    """Lets the sources opened inside download, if the user said so."""
    before = _ALLOWED.set(allowed)
    try:
        yield
    finally:
        _ALLOWED.reset(before)


def may_download() -> bool:
    """Returns whether the user allowed downloads for what is being opened."""
    return _ALLOWED.get()


def fetched(what: str, fetch: Callable[[], Any]) -> Path:
    """Downloads by another library's own function, which returns the file's path.

    Raises FdbenchError if that fails, whatever it raises.
    """
    say(f"downloading {what}")
    try:
        return Path(fetch())
    except Exception as reason:  # each library, and each of its HTTP clients, has its own
        raise FdbenchError(f"{what} can't be downloaded: {brief(reason)}") from reason
