"""Reads the rows of many runs on several cores.

    python -m fdbench.store.reading_together SHARE FILE

is one helper: SHARE is a JSON list of folders and keys, and it writes the pickled RowsRead of each
to FILE, in order. Helpers are started as commands, not by multiprocessing: that would run a
caller's script once more in each of them. Free of torch.
"""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from fdbench.files import temporary_folder
from fdbench.store.reading import RowsRead, read_columns
from fdbench.store.workspace import RunPaths

_WORTH = 16 * 2**20  # bytes of rows: a helper starts in the time that a few of them take
_MOST = 8  # processes

Keys = Mapping[Path, str]  # RunInfo.key of each folder


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in RunPaths(folder).all_rows())


def shares(keys: Keys, processes: int) -> list[dict[Path, str]]:
    """The folders, dealt out so that every process has about as many bytes to read."""
    sizes = {folder: _bytes(folder) for folder in keys}
    count = max(1, min(processes, _MOST, sum(sizes.values()) // _WORTH))
    dealt: list[dict[Path, str]] = [{} for _ in range(count)]
    loads = [0] * count
    for folder in sorted(keys, key=lambda one: -sizes[one]):
        lightest = loads.index(min(loads))
        dealt[lightest][folder] = keys[folder]
        loads[lightest] += sizes[folder]
    return dealt


class _Helper:
    """A process that reads its share into a file."""

    def __init__(self, share: Keys, file: Path) -> None:
        self._share, self._file = share, file
        pairs = file.with_suffix(".json")
        pairs.write_text(json.dumps([[os.fspath(folder), key] for folder, key in share.items()]))
        importable = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(pairs), str(file)],
            env={**os.environ, "PYTHONPATH": importable},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def result(self) -> dict[Path, RowsRead]:
        """What it read; read here instead if it failed."""
        if self._process.wait():
            return _read(self._share)
        with self._file.open("rb") as file:
            return {folder: pickle.load(file) for folder in self._share}

    def stop(self) -> None:
        """Ends the process, if it has not ended."""
        self._process.kill()
        self._process.wait()


def _read(share: Keys) -> dict[Path, RowsRead]:
    return {folder: read_columns(folder, key) for folder, key in share.items()}


def read_together(keys: Keys) -> dict[Path, RowsRead]:
    """The rows of each folder, in the order given; large ones by a process for each core."""
    mine, *others = shares(keys, os.cpu_count() or 1)
    with ExitStack() as stack:
        place = stack.enter_context(temporary_folder()) if others else Path()
        helpers = []
        for number, share in enumerate(others):
            helpers.append(_Helper(share, place / str(number)))
            stack.callback(helpers[-1].stop)
        read = _read(mine)
        for helper in helpers:
            read |= helper.result()
    return {folder: read[folder] for folder in keys}


def _help(share: Path, file: Path) -> None:
    """What a helper does."""
    with file.open("wb") as out:
        for folder, key in json.loads(share.read_bytes()):
            pickle.dump(read_columns(Path(folder), key), out, pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    _help(*map(Path, sys.argv[1:]))
