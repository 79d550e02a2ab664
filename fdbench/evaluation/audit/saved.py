"""A run as it lies on the disk, read line by line: what can't be trusted is set apart."""

import json
from dataclasses import dataclass
from pathlib import Path

from fdbench.errors import unknown
from fdbench.specs import digest
from fdbench.store import Row, RunInfo, read_info


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
        return bool(told) or (self.path / "adv").is_dir()

    @property
    def finished(self) -> bool:
        """Whether there are as many rows, sound or not, as were planned."""
        return len(self.rows) + len(self.faults) >= self.info.images


def find_run(results: Path, given: str) -> Path:
    """The folder of a run, given by its path or its name. Raises BadValue for neither."""
    for path in (Path(given), results / "runs" / given):
        if (path / "run.json").is_file():
            return path
    names = [path.parent.name for path in (results / "runs").glob("*/run.json")]
    raise unknown("run", given, names, "Or give a run's folder. `fdbench list runs` shows all.")


_FIELDS: dict[str, tuple[type, ...]] = {
    "image": (int, str),
    "label": (int,),
    "clean": (int,),
    "pred": (dict,),
    "distance": (int, float),
}
_MAY_BE = {"target": int, "shard": str}  # None or left out besides


def _is_row(row: object) -> bool:
    """Whether the fields that are checked here are there and of their kinds."""
    return (
        isinstance(row, dict)
        and all(isinstance(row.get(key), kinds) for key, kinds in _FIELDS.items())
        and all(isinstance(row.get(key), kind | None) for key, kind in _MAY_BE.items())
        and all(isinstance(pred, int) for pred in row["pred"].values())
        and bool(row["pred"])
    )


def _fault(line: bytes) -> str | None:
    """What is wrong with a line of a rows file by itself, if anything."""
    try:
        row = json.loads(line)
    except ValueError:
        return "is not a row"
    if not _is_row(row):
        return "lacks fields of a row"
    if json.dumps(row).encode() != line:
        return "is not as it was written"
    kept = {key: value for key, value in row.items() if key != "check"}
    if ("shard" in row or "check" in row) and row.get("check") != digest(kept):
        return "does not fit its check"
    return None


def read_run(path: Path) -> SavedRun:
    """What a run's folder says, sound or not. Raises FdbenchError for a malformed run.json."""
    rows, faults, torn = [], [], False
    for file in sorted(path.glob("rows-*.jsonl")):
        *lines, rest = file.read_bytes().split(b"\n")
        torn = torn or bool(rest)
        for number, line in enumerate(lines, 1):
            fault = _fault(line)
            if fault is None:
                rows.append(json.loads(line))
            else:
                faults.append(f"{file.name}, line {number} {fault}")
    return SavedRun(path, read_info(path / "run.json"), tuple(rows), tuple(faults), torn)
