"""The output of attack commands: the run folders, or their descriptions."""

import json
from collections.abc import Sequence
from pathlib import Path

from fdbench.console import out


def show_runs(folders: Sequence[Path], as_json: bool) -> None:
    """Prints the run folders, one per line, or the content of each run.json."""
    if as_json:
        described = [json.loads((folder / "run.json").read_text()) for folder in folders]
        out.print(json.dumps(described), soft_wrap=True)
        return
    for folder in folders:
        out.print(str(folder), soft_wrap=True)
