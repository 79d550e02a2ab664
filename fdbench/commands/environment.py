"""Environment variables that set options: FDBENCH_ATTACK_PGD_ITERS=100."""

import os
from collections.abc import Iterator

import click

from fdbench.errors import BadValue, nearest

_PREFIX = "FDBENCH"
_TESTS = "FDBENCH_TEST_"  # of fdbench's own tests


def variables(command: click.Command, prefix: str = _PREFIX) -> Iterator[str]:
    """Yields the names that click reads for the options of a command and its subcommands."""
    for option in command.params:
        if isinstance(option, click.Option) and option.name:
            yield f"{prefix}_{option.name.upper()}"
    if not isinstance(command, click.Group):
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        if below is not None:
            yield from variables(below, f"{prefix}_{name.upper().replace('-', '_')}")


def check_environment(main: click.Group) -> None:
    """Raises BadValue for a variable FDBENCH_... that no option reads."""
    given = [name for name in os.environ if name.startswith(f"{_PREFIX}_")]
    given = [name for name in given if not name.startswith(_TESTS)]
    if not given:  # usually: no command but the one typed is imported
        return
    known = set(variables(main))
    for name in given:
        if name not in known:
            meant = " or ".join(nearest(name, known))
            raise BadValue(
                f"no option reads the environment variable {name}."
                + (f" Did you mean {meant}?" if meant else "")
                + f"\nTo go on without it: unset {name}"
            )
