"""The doctor's findings, a JSON file for each network and data set. Free of torch."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fdbench.errors import FdbenchError
from fdbench.files import write_atomically
from fdbench.specs import parsed
from fdbench.store.workspace import Workspace

VERDICTS = ("pass", "fail", "skipped")


@dataclass(frozen=True)
class Check:
    """One check's verdict, with the evidence in words."""

    check: str
    verdict: str  # one of VERDICTS
    found: str


@dataclass(frozen=True)
class Findings:
    """All checks of one network on one data set; `weights` is the sha256 of its parameters."""

    model: str
    weights: str
    data: str
    checks: tuple[Check, ...]
    started: str  # ISO 8601, UTC

    def lines(self) -> list[str]:
        """The notes under a table: each failed check, or one line if none failed."""
        failed = [one for one in self.checks if one.verdict == "fail"]
        if failed:
            return [f"doctor: {one.check}: {one.found}" for one in failed]
        skipped = sum(one.verdict == "skipped" for one in self.checks)
        more = f", {skipped} skipped" if skipped else ""
        return [f"doctor passed ({len(self.checks) - skipped} checks{more})"]


def write_findings(workspace: Workspace | Path, findings: Findings) -> Path:
    """Stores the findings, replacing those of the same network and data; returns the path."""
    path = Workspace.of(workspace).findings(findings.model, findings.weights, findings.data)
    write_atomically(path, json.dumps(asdict(findings), indent=2) + "\n")
    return path


def _read(path: Path) -> Findings:
    """The findings in one file. Raises FdbenchError for an invalid field or verdict."""
    try:
        table = json.loads(path.read_text())
        checks = [parsed(Check, check, "a check") for check in table["checks"]]
        findings = parsed(Findings, {**table, "checks": checks}, "the file")
    except (ValueError, TypeError, KeyError, FdbenchError) as reason:
        raise FdbenchError(
            f"{path} is not what the doctor wrote: {reason}.\nMove it away, and run "
            "`fdbench doctor` again."
        ) from reason
    if any(check.verdict not in VERDICTS for check in checks):
        raise FdbenchError(f"{path} is not what the doctor wrote: verdicts are {VERDICTS}.")
    return findings


def read_findings(workspace: Workspace | Path) -> list[Findings]:
    """All findings of a workspace, by file name.

    Raises FdbenchError, naming the file, for one that is malformed.
    """
    return [_read(path) for path in Workspace.of(workspace).all_findings()]


def findings_about(known: Sequence[Findings], weights: Iterable[str]) -> list[str]:
    """`MODEL on DATA: ...` for each network whose parameters' hash begins with one of `weights`."""
    starts = tuple(weights)
    return [
        f"{one.model} on {one.data}: {line}"
        for one in known
        if starts and one.weights.startswith(starts)
        for line in one.lines()
    ]
