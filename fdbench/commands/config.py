"""--config FILE.toml: options of any command, and --show-config: where each value comes from."""

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fdbench.console import out
from fdbench.errors import BadValue, FdbenchError, unknown

_FROM = {
    ParameterSource.COMMANDLINE: "flag",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "file",
    ParameterSource.DEFAULT: "default",
}


def load_config(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Takes the defaults of all commands from a TOML file with a table for each.

    Raises FdbenchError for a file that is not TOML, BadValue for options that do not exist.
    """
    if path is None:
        return None
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as reason:  # brackets, thousands deep
        raise FdbenchError(f"--config {path} is not a readable TOML file: {reason}") from reason
    context.default_map = _defaults(context.command, table, "")
    return path


def _defaults(command: click.Command, table: Mapping[str, Any], words: str) -> dict[str, Any]:
    """Returns a command's table as click takes it, by the names of parameters."""
    defaults: dict[str, Any] = {}
    groups = command if isinstance(command, click.Group) else None
    for key, value in table.items():
        if groups and isinstance(value, Mapping):
            below = groups.get_command(click.Context(groups), key)
            if below is None:
                known = groups.list_commands(click.Context(groups))
                raise unknown(
                    f"command for the table of --config [{_table(words, key)}]", key, known
                )
            defaults[key] = _defaults(below, value, _table(words, key))
        else:
            name, taken = _option(command, key, value, words)
            defaults[name] = taken
    return defaults


def _table(words: str, key: str) -> str:
    """Returns `attack.pgd`: the name of a command's table."""
    return f"{words}.{key}".lstrip(".")


def _option(command: click.Command, key: str, value: Any, words: str) -> tuple[str, Any]:
    """Returns the parameter that an option's name means, and its value."""
    options = {
        name.removeprefix("--"): (one, name in one.secondary_opts)
        for one in command.params
        if isinstance(one, click.Option)
        for name in (*one.opts, *one.secondary_opts)
    }
    where = f"[{words}] of --config" if words else "--config, outside the commands' tables,"
    if key not in options or isinstance(value, Mapping):
        raise unknown(f"option in {where}", key, options)
    option, off = options[key]
    if off:
        raise BadValue(f"{key} in {where}: write {option.opts[0].removeprefix('--')} = false.")
    if not all(map(_plain, value if isinstance(value, list) else [value])):
        raise BadValue(f"{key} = {value} in {where}: give text, true, false or a finite number.")
    if option.multiple and not isinstance(value, list):
        value = [value]
    elif isinstance(value, list) and not option.multiple:
        value = ",".join(map(str, value))  # iters = [10, 100]
    return str(option.name), value


def _plain(value: object) -> bool:
    """Returns whether an option can be given such a value; dates, lists and infinity can't."""
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def show_config(group: click.Group, context: click.Context, args: list[str]) -> None:
    """Prints each option of the command that `args` name, its value and where that comes from."""
    command: click.Command = group
    words: list[str] = []
    while isinstance(command, click.Group):
        if not args:
            raise BadValue("--show-config shows the options of a command: add it, with its own.")
        name, found, args = command.resolve_command(context, args)
        assert found is not None
        command, words = found, [*words, str(name)]
        if isinstance(command, click.Group):
            context = command.make_context(name, args, parent=context)
            args = [*context._protected_args, *context.args]
    leaf = command.make_context(words[-1], list(args), parent=context)
    out.print(f"fdbench {' '.join(words)}", style="bold", highlight=False)
    for one in command.params:
        source = leaf.get_parameter_source(str(one.name))
        value = leaf.params.get(str(one.name))
        shown = "left open" if value in (None, ()) else str(value)
        origin = _FROM[source] if source else "default"
        name = one.opts[0]
        out.print(f"  {name:<18} {shown}  ({origin})", highlight=False, soft_wrap=True)
