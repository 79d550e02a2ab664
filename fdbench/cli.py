"""The command line's face: which command lives where. Free of torch, so that --help is instant."""

from importlib.metadata import version
from typing import Any

import click

from fdbench.registry import imported

COMMANDS = {  # name: "module:command", imported when named or listed
    "train": "fdbench.commands.train:train",
    "train-attacker": "fdbench.commands.train_attacker:train_attacker",
    "attack": "fdbench.commands.attack:attack",
    "verify": "fdbench.commands.verify:verify",
    "doctor": "fdbench.commands.doctor:doctor",
    "report": "fdbench.commands.report:report",
    "import": "fdbench.commands.import_:import_",
    "submission": "fdbench.commands.submission:submission",
    "classify": "fdbench.commands.classify:classify",
    "list": "fdbench.commands.list:list_group",
}


class _Table(click.Group):
    """A group whose commands are the rows of COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = imported(COMMANDS[cmd_name])
        return command


# Each option is also an environment variable: FDBENCH_TRAIN_EPOCHS, FDBENCH_ATTACK_PGD_ITERS, ...
SETTINGS: dict[str, Any] = {
    "auto_envvar_prefix": "FDBENCH",
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}


@click.group(cls=_Table, context_settings=SETTINGS)
@click.version_option(version("fdbench"), prog_name="fdbench")
def main() -> None:
    """How robust is this image classifier, and did the denoising block help?

    Train networks with and without denoising blocks, attack them, and compare: fdbench train, then
    fdbench attack pgd --iters 100, then fdbench report. Everything is kept under results/ and every
    command continues where it was stopped.
    """
