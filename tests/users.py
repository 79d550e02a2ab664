"""The folder of a user with networks of her own, for tests of commands."""

import os
import sys
from pathlib import Path

import pytest
from killing import TESTS


def at_home(folder: Path, monkeypatch: pytest.MonkeyPatch, nets: str) -> Path:
    """Makes `folder` the working directory, with `nets` as its nets.py; that can import tests."""
    (folder / "nets.py").write_text(nets)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*TESTS.split(os.pathsep), *sys.path])
    return folder
