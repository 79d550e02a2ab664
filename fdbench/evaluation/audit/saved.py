"""A run as it lies on the disk, read line by line: what can't be trusted is set apart."""

from dataclasses import dataclass
from pathlib import Path

from fdbench.errors import unknown
from fdbench.store import BadRow, Row, RunInfo, RunPaths, Workspace, decode_row, read_info


@dataclass(frozen=True)
class SavedRun:
    """A run as it lies on the disk; a line that is no row, or was changed, is one of `faults`."""

    path: Path
    info: RunInfo
    rows: tuple[Row, ...]
    faults: tuple[str, ...]
    torn: bool  # something stands after the last whole line

    @property
    def sealed(self) -> bool:
        """Whether rows carry a checksum: those of the first versions did not."""
        return any("check" in row for row in self.rows)

    @property
    def saved(self) -> bool:
        """Whether the run kept its images, or says so anywhere."""
        told = self.info.found.get("save_adv") or any("shard" in row for row in self.rows)
        return bool(told) or RunPaths(self.path).images.is_dir()

    @property
    def finished(self) -> bool:
        """Whether there are as many rows, sound or not, as were planned."""
        return len(self.rows) + len(self.faults) >= self.info.images


def find_run(workspace: Workspace, given: str) -> Path:
    """The folder of a run, given by its path or its name. Raises BadValue for neither."""
    for path in (Path(given), workspace.run(given)):
        if RunPaths(path).description.is_file():
            return path
    raise unknown(
        "run",
        given,
        workspace.described_runs(),
        "Or give a run's folder. `fdbench list runs` shows all.",
    )


def read_run(path: Path) -> SavedRun:
    """What a run's folder says, sound or not. Raises FdbenchError for a malformed run.json."""
    rows, faults, torn = [], [], False
    for file in RunPaths(path).all_rows():
        *lines, rest = file.read_bytes().split(b"\n")
        torn = torn or bool(rest)
        for number, line in enumerate(lines, 1):
            try:
                rows.append(decode_row(line, strict=True))
            except BadRow as fault:
                faults.append(f"{file.name}, line {number} {fault}")
    return SavedRun(path, read_info(RunPaths(path).description), tuple(rows), tuple(faults), torn)
