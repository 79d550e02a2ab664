"""What the doctor found: results/doctor/*.json, a file a network and data set. Free of torch."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fdbench.errors import FdbenchError
from fdbench.store.files import safe, write_atomically

VERDICTS = ("pass", "fail", "skipped")


@dataclass(frozen=True)
class Check:
    """One check's verdict, and what was found in words."""

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
        """What is said under a table: each failed check, or that none failed."""
        failed = [one for one in self.checks if one.verdict == "fail"]
        if failed:
            return [f"doctor: {one.check}: {one.found}" for one in failed]
        skipped = sum(one.verdict == "skipped" for one in self.checks)
        more = f", {skipped} skipped" if skipped else ""
        return [f"doctor passed ({len(self.checks) - skipped} checks{more})"]


def write_findings(results: Path, found: Findings) -> Path:
    """Stores the findings in place of earlier ones for the same network and data; the file."""
    name = f"{safe(found.model)}-{found.weights[:8]}-{safe(found.data)}.json"
    path = results / "doctor" / name
    write_atomically(path, json.dumps(asdict(found), indent=2) + "\n")
    return path


def parsed_findings(path: Path) -> Findings:
    try:
        table = json.loads(path.read_text())
        checks = tuple(Check(**one) for one in table.pop("checks"))
        found = Findings(**table, checks=checks)
    except (ValueError, TypeError, KeyError, AttributeError) as reason:
        raise FdbenchError(
            f"{path} is not what the doctor wrote: {reason!r}.\nMove it away, and run "
            "`fdbench doctor` again."
        ) from reason
    texts = [getattr(found, one.name) for one in fields(found) if one.name != "checks"]
    texts += [text for one in checks for text in asdict(one).values()]
    if not all(isinstance(text, str) for text in texts) or any(
        one.verdict not in VERDICTS for one in checks
    ):
        raise FdbenchError(f"{path} is not what the doctor wrote: verdicts are {VERDICTS}.")
    return found


def read_findings(results: Path) -> list[Findings]:
    """All findings under `results`, by file name.

    Raises FdbenchError, naming the file, for one that is malformed.
    """
    return [parsed_findings(path) for path in sorted((results / "doctor").glob("*.json"))]


def findings_about(known: Sequence[Findings], weights: Iterable[str]) -> list[str]:
    """`MODEL on DATA: ...` for each network whose parameters' hash begins with one of `weights`."""
    starts = tuple(weights)
    return [
        f"{one.model} on {one.data}: {line}"
        for one in known
        if starts and one.weights.startswith(starts)
        for line in one.lines()
    ]
