"""What is under way in a results folder, read from its files: for `fdbench view`. Free of torch."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fdbench.files import parse_json
from fdbench.printable import one_line
from fdbench.store import RunPaths, Workspace

RECENT_S = 120.0  # a job that wrote something within this time counts as running
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Job:
    """A run or a training; `done` of `planned` images, where that is known."""

    kind: str  # "run" or "training"
    name: str
    state: str  # "finished", "running" or "stopped"
    done: int | None = None
    planned: int | None = None


class Watch:
    """Looks at a results folder again and again; rows are counted once."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._counted: dict[Path, tuple[int, int]] = {}  # bytes read so far, and their lines

    def _lines(self, path: Path) -> int:
        """How many whole lines a growing file has; a file that shrank is read anew."""
        size, count = self._counted.get(path, (0, 0))
        if path.stat().st_size < size:
            size, count = 0, 0
        with path.open("rb") as file:
            file.seek(size)
            while chunk := file.read(_CHUNK):
                size, count = size + len(chunk), count + chunk.count(b"\n")
        self._counted[path] = size, count
        return count

    def _run(self, folder: Path, now: float) -> Job | None:
        paths = RunPaths(folder)
        try:
            described = parse_json(paths.description.read_bytes())
            planned = int(described["images"])
            rows = paths.all_rows()
            done = sum(map(self._lines, rows))
            latest = max((path.stat().st_mtime for path in (*rows, paths.description)), default=0.0)
        except (OSError, ValueError, TypeError, KeyError):
            return None  # just begun, or no run: the report says what is wrong with it
        state = "finished" if done >= planned else _state(latest, now)
        return Job("run", one_line(folder.name), state, min(done, planned), planned)

    def jobs(self) -> list[Job]:
        """Unfinished jobs first, those that run before those that stopped; by name."""
        now = time.time()
        found = [job for folder in self.workspace.all_runs() if (job := self._run(folder, now))]
        for path in sorted(self.workspace.checkpoints.glob("*.resume")):
            found.append(Job("training", one_line(path.stem), _state(_changed(path), now)))
        order = ("running", "stopped", "finished")
        return sorted(found, key=lambda job: (order.index(job.state), job.name))

    def report_is_older(self) -> bool:
        """Whether rows were written after the page, or there is no page yet."""
        page = _changed(self.workspace.table("report.html"))
        rows = [path for run in self.workspace.all_runs() for path in RunPaths(run).all_rows()]
        return any(_changed(path) > page for path in rows)

    def seen(self) -> dict[str, Any]:
        """All of it as plain data."""
        page = self.workspace.table("report.html").is_file()
        jobs = [asdict(job) for job in self.jobs()]
        return {"jobs": jobs, "report": page, "older": page and self.report_is_older()}


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _state(latest: float, now: float) -> str:
    return "running" if now - latest < RECENT_S else "stopped"
