"""Errors as the user reads them: what was given, what is allowed, what to type next."""

import difflib
from collections.abc import Iterable

import click


class FdbenchError(click.ClickException):
    """Something is wrong with a file, a weight, a loss. Exit code 1."""

    exit_code = 1


class BadValue(FdbenchError):
    """An invalid argument: an unknown name, an eps of 8. Exit code 2."""

    exit_code = 2


class SanityFailed(FdbenchError):
    """A result that failed a sanity check and can't be trusted. Exit code 3."""

    exit_code = 3


def unknown(kind: str, given: str, allowed: Iterable[str], hint: str = "") -> BadValue:
    """The error for an unknown name; proposes the nearest known one."""
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1)
    text = f"no {kind} {given!r}."
    if near:
        text += f" Did you mean {near[0]!r}?"
    text += f"\nAllowed: {', '.join(names)}." if names else ""
    return BadValue(text + (f"\n{hint}" if hint else ""))
