"""fdbench submission."""

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

import click

from fdbench import api
from fdbench.commands.options import Named, results_option
from fdbench.console import out, say
from fdbench.errors import FdbenchError
from fdbench.files import write_atomically, writing
from fdbench.submission import attack_template

_RUN_ATTACK = """\
#!/bin/sh
# Called as ./run_attack.sh INPUT_DIR OUTPUT_DIR EPS: PNGs in, PNGs of the same names out, no pixel
# more than EPS (of 255) away.
exec python3 "$(dirname "$0")/attack.py" "$1" "$2" "$3"
"""
# {model} is already shell-quoted. PYTHONPATH is for a module:function in the script's folder.
_RUN_DEFENSE = """\
#!/bin/sh
# Called as ./run_defense.sh INPUT_DIR OUTPUT_FILE: a line FILENAME,LABEL an image, labels 1..1000.
INPUT_DIR=$1
OUTPUT_FILE=$2
here=$(CDPATH= cd -- "$(dirname "$0")" && pwd)
export PYTHONPATH="$here${{PYTHONPATH:+:$PYTHONPATH}}"
exec fdbench classify --model {model} --label-base 1 "$INPUT_DIR" "$OUTPUT_FILE"
"""
_WEIGHTS = "model.safetensors"


@click.group(cls=Named)
def submission() -> None:
    """Create attacks and defences for competitions.

    Their layout is that of NIPS 2017 and CAAD 2018.
    """


@submission.group(cls=Named)
def new() -> None:
    """Create a working submission to start from."""


_directory = click.argument(
    "directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path)
)


@new.command()
@_directory
def attack(directory: Path) -> None:
    """Create an attack in DIR: random noise of size EPS.

    DIR must be empty or absent. It gets a small Python script with NumPy and Pillow; any language
    works, as long as run_attack.sh INPUT_DIR OUTPUT_DIR EPS reads and writes PNGs.
    """
    script = attack_template()
    _write(
        directory, "attack", "run_attack.sh", {"run_attack.sh": _RUN_ATTACK, "attack.py": script}
    )
    say("Next: put your attack into attack.py, then")
    say(f"  fdbench attack transfer --submission {shlex.quote(str(directory))}")
    out.print(str(directory), soft_wrap=True)


@new.command()
@_directory
@click.option("--model", required=True, help="A name, a .safetensors file, or module:function.")
@results_option
def defense(directory: Path, model: str, results: Path) -> None:
    """Create a defence in DIR: a network run by fdbench classify.

    DIR must be empty or absent. Weights are copied into it; the .py file of a module:function is
    not: copy it there yourself.
    """
    _refuse_full(directory)
    weights = api.weights_behind(model, results)
    # $here is the shell's: the folder of the script, wherever it is called from.
    named = f'"$here/{_WEIGHTS}"' if weights else shlex.quote(model)
    script = _RUN_DEFENSE.format(model=named)
    _write(directory, "defense", "run_defense.sh", {"run_defense.sh": script})
    if weights:
        with writing(directory / _WEIGHTS):
            shutil.copyfile(weights, directory / _WEIGHTS)
    else:
        say(f"{model} must be importable from {directory}: copy its files there, or install them.")
    say("Next:")
    say(f"  {shlex.quote(str(directory / 'run_defense.sh'))} INPUT_DIR OUTPUT_FILE")
    out.print(str(directory), soft_wrap=True)


def _refuse_full(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        raise FdbenchError(f"{directory} is not empty: give an empty or a new folder.")


def _write(directory: Path, kind: str, entry_point: str, texts: Mapping[str, str]) -> None:
    """Writes the folder, its metadata.json and these files; the entry point is executable."""
    _refuse_full(directory)
    metadata = json.dumps({"type": kind, "entry_point": entry_point}, indent=2) + "\n"
    for name, text in {"metadata.json": metadata, **texts}.items():
        write_atomically(directory / name, text)
    with writing(directory / entry_point):
        (directory / entry_point).chmod(0o755)
