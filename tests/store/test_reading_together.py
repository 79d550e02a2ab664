"""Several processes read what one reads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from madeup import info, row, sealed, store

from fdbench.randomness import ImageId
from fdbench.store import reading_together
from fdbench.store.columns import Columns, Values
from fdbench.store.reading import read_columns
from fdbench.store.reading_together import read_together, shares


@pytest.fixture
def keys(tmp_path: Path) -> dict[Path, str]:
    """Three runs, one of names for images, one with a damaged line and a repeated image."""
    keys = {}
    ids_of: list[list[ImageId]] = [[0, 1, 2], ["a.png", "b.png"], [4, 5, 4]]
    for number, ids in enumerate(ids_of):
        run = info(f"net-{number}")
        rows = [{**row(0, 7, (10, 100)), "image": i, "broken_by": "square"} for i in ids]
        folder = store(tmp_path, run, [])
        lines = [json.dumps(one) for one in sealed(run, rows)]
        (folder / "rows-0.jsonl").write_text("\n".join([*lines, "nonsense", ""]))
        keys[folder] = run.key
    return keys


def plain(value: Any) -> Any:
    """The columns as lists, which can be compared."""
    if isinstance(value, Columns | Values):
        return {name: plain(one) for name, one in vars(value).items()}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return (value.dtype, value.tolist()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("broken", [False, True])
def test_helpers_read_what_one_process_reads(
    keys: dict[Path, str], monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", "1/0"] if broken else command, **options))
        return started[-1]

    monkeypatch.setattr(reading_together, "_WORTH", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(subprocess, "Popen", start)
    together = read_together(keys)
    assert [process.returncode for process in started] == [1 if broken else 0]
    assert list(together) == list(keys)
    for folder, key in keys.items():
        alone, read = read_columns(folder, key), together[folder]
        assert (read.damaged, read.warnings) == (alone.damaged, alone.warnings)
        assert plain(read.columns) == plain(alone.columns)
    assert len(together[list(keys)[2]].warnings) == 1


def test_few_rows_are_read_without_helpers(keys: dict[Path, str]) -> None:
    assert shares(keys, 8) == [keys]


def test_every_folder_is_dealt_once_and_large_ones_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_together, "_WORTH", 10)
    sizes = {"a": 10, "b": 50, "c": 20, "d": 10, "e": 0}
    for name, size in sizes.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows-0.jsonl").write_bytes(b"x" * size)
    dealt = shares({tmp_path / name: "key" for name in sizes}, 2)
    loads = [sum(sizes[folder.name] for folder in share) for share in dealt]
    assert sorted(folder.name for share in dealt for folder in share) == list(sizes)
    assert sorted(loads) == [40, 50]
