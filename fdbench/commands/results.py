"""What attack commands print: the run folders, or what their descriptions say."""

import json
from collections.abc import Sequence
from pathlib import Path

from fdbench.console import out


def show_runs(folders: Sequence[Path], as_json: bool) -> None:
    """The run folders on stdout, one a line, or what their run.json say."""
    if as_json:
        described = [json.loads((folder / "run.json").read_text()) for folder in folders]
        out.print(json.dumps(described), soft_wrap=True)
        return
    for folder in folders:
        out.print(str(folder), soft_wrap=True)
