"""A run read for the audit: the lines that are valid rows, and what is wrong with the others."""

from dataclasses import dataclass
from pathlib import Path

from fdbench.errors import unknown
from fdbench.store import (
    BadRow,
    Row,
    RunInfo,
    RunPaths,
    Workspace,
    decode_row,
    numbered_lines,
    read_info,
    whole_lines,
)


@dataclass(frozen=True)
class SavedRun:
    """A run as stored; `faults` has a message for each line that is not a valid row."""

    path: Path
    info: RunInfo
    rows: tuple[Row, ...]
    faults: tuple[str, ...]
    torn: bool  # a file has bytes after its last newline

    @property
    def paths(self) -> RunPaths:
        return RunPaths(self.path)

    @property
    def has_checks(self) -> bool:
        """Whether any row carries a check; the first versions wrote none."""
        return any("check" in row for row in self.rows)

    @property
    def kept_images(self) -> bool:
        """Whether run.json, a row or a folder shows that the run kept its images."""
        named = self.info.found.get("save_adv") or any("shard" in row for row in self.rows)
        return bool(named) or self.paths.images.is_dir()

    @property
    def replays(self) -> bool:
        """Whether the run judged the images of a set."""
        return not self.info.attack.parameters.sees_network

    @property
    def finished(self) -> bool:
        """Whether there are as many judged images and invalid lines as planned images."""
        return len({row["image"] for row in self.rows}) + len(self.faults) >= self.info.images


def find_run(workspace: Workspace, given: str) -> Path:
    """Returns the folder of a run given by path or name. Raises BadValue for neither."""
    named = [workspace.run(given)] if Path(given).name == given else []
    for path in (Path(given), *named):
        if RunPaths(path).description.is_file():
            return path
    hint = "Give a run's name or folder: `fdbench list runs` shows all."
    raise unknown("run", given, workspace.described_runs(), hint)


def read_run(path: Path) -> SavedRun:
    """Reads the run in a folder, faulty or not. Raises FdbenchError for a malformed run.json."""
    paths = RunPaths(path)
    rows: list[Row] = []
    faults: list[str] = []
    torn = False
    info = read_info(paths.description)
    for file in paths.all_rows():
        torn = torn or len(whole_lines(file)) < file.stat().st_size
        for number, line in numbered_lines(file):
            try:
                rows.append(decode_row(line, info.key, strict=True))
            except BadRow as fault:
                faults.append(f"{file.name}, line {number} {fault}")
    return SavedRun(path, info, tuple(rows), tuple(faults), torn)
