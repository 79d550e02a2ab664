"""What a person at the prompt reads when something is wrong: given, allowed, what to type next."""

import difflib
from collections.abc import Iterable

import click


class FdbenchError(click.ClickException):
    """Something out there is wrong: a file, a weight, a loss. Exit code 1, one clear text."""

    exit_code = 1


class BadValue(FdbenchError):
    """What was typed can't be meant: an unknown name, an eps of 8. Exit code 2."""

    exit_code = 2


class SanityFailed(FdbenchError):
    """The result exists but a check says it can't be trusted. Exit code 3."""

    exit_code = 3


def unknown(kind: str, given: str, allowed: Iterable[str], hint: str = "") -> BadValue:
    """The error for a name that is in no table; proposes the nearest one."""
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1)
    text = f"no {kind} {given!r}."
    if near:
        text += f" Did you mean {near[0]!r}?"
    text += f"\nAllowed: {', '.join(names)}." if names else ""
    return BadValue(text + (f"\n{hint}" if hint else ""))
