"""What the processes of a run note besides rows: warnings, and what they saw of the network.

    results/runs/<name>/notes-<rank>.json

The first process writes its own into run.json; each other one has a file, so that none overwrites
another's. Free of torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fdbench.errors import FdbenchError, SanityFailed
from fdbench.files import contents, parse_json, write_atomically
from fdbench.specs import parsed
from fdbench.store.resuming import merged
from fdbench.store.run_json import RunInfo, check_found
from fdbench.store.sealing import sealed_json, unsealed
from fdbench.store.workspace import RunPaths

Counts = Mapping[str, int | float]

SEEN = ("network", "observed")  # in RunInfo.found: each process has its own


def write_notes(paths: RunPaths, rank: int, info: RunInfo) -> None:
    """Writes a process's warnings and what it saw."""
    seen = {key: info.found[key] for key in SEEN if key in info.found}
    table = {"run": info.key, "warnings": list(info.warnings), "found": seen}
    write_atomically(paths.notes(rank), sealed_json(table))


def own_notes(paths: RunPaths, rank: int, info: RunInfo) -> RunInfo:
    """Returns the description as this process left it: without what others saw."""
    others = {key: value for key, value in info.found.items() if key not in SEEN}
    if not paths.notes(rank).is_file():
        return replace(info, found=others)
    mine = _read(paths.notes(rank), info.key)
    warnings = merged(info.warnings, mine.warnings)
    return replace(info, found={**others, **mine.found}, warnings=warnings)


def with_notes(paths: RunPaths, info: RunInfo) -> RunInfo:
    """Returns the description with the notes of every process."""
    for path in paths.all_notes():
        notes = _read(path, info.key)
        found = _together(info.found, notes.found)
        info = replace(info, found=found, warnings=merged(info.warnings, notes.warnings))
    return info


def _together(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Adds what was counted; a network that one process saw draw random numbers is random."""
    networks = [found.get("network", {}) for found in (one, other)]
    random = any(network.get("random") for network in networks)
    seen = {
        "observed": added(one.get("observed", {}), other.get("observed", {})),
        "network": {**networks[1], **networks[0], "random": random},
    }
    return {**one, **{key: seen[key] for key in SEEN if key in one or key in other}}


def added(one: Counts, other: Counts) -> dict[str, int | float]:
    """Returns the sums of two sets of counts."""
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


@dataclass(frozen=True)
class _Notes:
    warnings: tuple[str, ...]
    found: Mapping[str, Any]
    run: str | None = None  # RunInfo.key; None: written by an earlier version


def _read(path: Path, run: str) -> _Notes:
    try:
        table = unsealed(dict(parse_json(contents(path))), path, "Move it away.", old=True)
        notes = parsed(_Notes, table, str(path))
    except (OSError, ValueError, TypeError) as reason:
        raise FdbenchError(f"{path} is not what fdbench wrote: {reason}. Move it away.") from reason
    check_found(notes.found, str(path))
    if notes.run not in (None, run):
        raise SanityFailed(f"{path} belongs to another run. Move it away.")
    return notes
