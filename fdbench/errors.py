"""Errors as the user reads them: what was given, what is allowed, what to type next."""

import difflib
from collections.abc import Iterable

import click

from fdbench.printable import shown


class FdbenchError(click.ClickException):
    """Something is wrong with a file, a weight, a loss. Exit code 1."""

    exit_code = 1

    def format_message(self) -> str:
        """The message as it is printed: what it quotes from a file can't obey the terminal."""
        return shown(self.message)


class BadValue(FdbenchError):
    """An invalid argument: an unknown name, an eps of 8. Exit code 2."""

    exit_code = 2


class SanityFailed(FdbenchError):
    """A result that failed a sanity check and can't be trusted. Exit code 3."""

    exit_code = 3


class NoGradient(SanityFailed):
    """The network's forward pass cuts the gradient: attacks that need one can't say anything."""

    def __init__(self) -> None:
        super().__init__(
            "no gradient reaches the image: the network's forward pass cuts it (JPEG, rounding, "
            "argmax, .detach(), numpy),\nand an attack by gradients would say nothing about it.\n"
            "Without gradients: fdbench attack autoattack --only square\n"
            "From another network: fdbench attack transfer --surrogate OTHER --model THIS\n"
            "Or give it a way back (BPDA, Athalye et al. 2018): in its code, "
            "x + (cut(x) - x).detach() in place of cut(x)."
        )


def nearest(given: str, allowed: Iterable[str], n: int = 1, cutoff: float = 0.6) -> list[str]:
    """The names nearest to `given`, at most `n`, in any letter case; [] if none is near."""
    by_case: dict[str, list[str]] = {}
    for name in sorted(allowed):
        by_case.setdefault(name.lower(), []).append(name)
    low = given.lower()
    near = [low] if low in by_case else difflib.get_close_matches(low, by_case, n, cutoff)
    return [name for one in near for name in by_case[one]]


def unknown(kind: str, given: str, allowed: Iterable[str], hint: str = "") -> BadValue:
    """The error for an unknown name; proposes the nearest known one."""
    names = sorted(allowed)
    near = nearest(given, names)
    text = f"no {kind} {given!r}."
    if near:
        text += f" Did you mean {' or '.join(map(repr, near))}?"
    text += f"\nAllowed: {', '.join(names)}." if names else ""
    return BadValue(text + (f"\n{hint}" if hint else ""))
