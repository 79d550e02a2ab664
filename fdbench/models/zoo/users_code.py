"""Exceptions of code that the user wrote, shown with her own lines alone."""

import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from fdbench.errors import FdbenchError
from fdbench.machine import is_out_of_memory

_LIBRARIES = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
# Where code of other people lies: the standard library, installed packages, fdbench.
_INSTALLED = tuple(f"{folder}{os.sep}" for folder in (*_LIBRARIES, Path(__file__).parents[2]))


def is_installed(file: str) -> bool:
    """Returns whether a source file is not the user's own."""
    return file.startswith(("<", *_INSTALLED))


def account(reason: BaseException) -> str:
    """Returns the exception and the lines of the user's code that led to it, innermost last.

    If all are in installed code, the innermost.
    """
    frames = traceback.extract_tb(reason.__traceback__)
    own = [one for one in frames if not is_installed(one.filename)]
    lines = traceback.format_list(own or frames[-1:])
    return "".join([*lines, *traceback.format_exception_only(reason)]).rstrip()


def brief(reason: BaseException) -> str:
    """Returns the exception's type and the first line of its text, of TorchScript's the last."""
    lines = "".join(traceback.format_exception_only(reason)).splitlines()
    return lines[-1 if "TorchScript interpreter" in lines[0] else 0]


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """Turns what goes wrong inside into an FdbenchError with the user's lines, and its cause.

    What the code prints goes to stderr, so as not to mix with results. An exit counts as an error:
    a script that parses its own command line ends there. Running out of memory stays as it is.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except FdbenchError:
        raise
    except (Exception, SystemExit) as reason:
        if is_out_of_memory(reason):
            raise
        raise FdbenchError(f"{what} failed:\n{account(reason)}") from reason
