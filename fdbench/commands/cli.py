"""The command line: a table of commands. Free of torch, so that --help is instant."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from fdbench import commands
from fdbench.commands.config import load_config, show_config
from fdbench.commands.environment import check_environment
from fdbench.commands.options import Named
from fdbench.console import stoppable

COMMANDS: dict[str, Callable[[], click.Command]] = {  # imported when named or listed
    "train": lambda: commands.train,
    "train-attacker": lambda: commands.train_attacker,
    "attack": lambda: commands.attack,
    "eval": lambda: commands.eval_,
    "verify": lambda: commands.verify,
    "doctor": lambda: commands.doctor,
    "report": lambda: commands.report,
    "figures": lambda: commands.figures,
    "view": lambda: commands.view,
    "compare": lambda: commands.compare,
    "export": lambda: commands.export,
    "runs": lambda: commands.runs,
    "import": lambda: commands.import_,
    "submission": lambda: commands.submission,
    "classify": lambda: commands.classify,
    "list": lambda: commands.list_group,
    "info": lambda: commands.info,
}


class _Table(Named):
    """A group whose commands are the rows of COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return COMMANDS[cmd_name]()

    def invoke(self, ctx: click.Context) -> Any:
        with stoppable():
            if ctx.params["show"]:
                check_environment(self)
                return show_config(self, ctx, [*ctx._protected_args, *ctx.args])
            return super().invoke(ctx)


# Each option is also an environment variable: FDBENCH_TRAIN_EPOCHS, FDBENCH_ATTACK_PGD_ITERS, ...
SETTINGS: dict[str, Any] = {
    "auto_envvar_prefix": "FDBENCH",
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}


@click.group(cls=_Table, context_settings=SETTINGS)
@click.version_option(version("fdbench"), prog_name="fdbench")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=load_config,
    help="Take options from a TOML file: a table for each command, as [attack.pgd].",
)
@click.option(
    "--show-config", "show", is_flag=True, help="Only print the command's options and their origin."
)
def main(show: bool) -> None:
    """How robust is this image classifier, and did the denoising block help?

    Train networks with and without denoising blocks, attack them, and compare: fdbench train, then
    fdbench attack pgd --iters 100, then fdbench report. Everything is kept under results/, and an
    interrupted command resumes when it is repeated.
    """
    check_environment(main)
