"""Takes runs out of every report: moved into archive/, or removed. Free of torch."""

import shutil
from pathlib import Path

from fdbench.errors import FdbenchError
from fdbench.files import writing
from fdbench.store.journal import Journal
from fdbench.store.workspace import RunPaths, Workspace


def archive_run(workspace: Workspace, folder: Path) -> Path:
    """Moves a run's folder into archive/ and returns the new one.

    Raises FdbenchError if a process is writing the run.
    """
    _refuse_in_use(folder)
    new = workspace.archived(folder.name)
    number = 1
    while new.exists():
        number += 1
        new = workspace.archived(f"{folder.name}-{number}")
    with writing(new):
        new.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(new)
    return new


def remove_run(folder: Path) -> None:
    """Deletes a run's folder. Raises FdbenchError if a process is writing the run."""
    _refuse_in_use(folder)
    with writing(folder):
        shutil.rmtree(folder)


def _refuse_in_use(folder: Path) -> None:
    """Raises FdbenchError if a process holds the lock of a file of rows."""
    for rows in RunPaths(folder).all_rows():
        try:
            Journal(rows).close()
        except FdbenchError as reason:
            raise FdbenchError(f"{folder.name} is in use.\n{reason.message}") from reason
