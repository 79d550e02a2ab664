"""Checks that count what they examine, and checks that only list what is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fdbench.store import Check


@dataclass
class Tally:
    """Counts the things a claim is checked on, and lists what is wrong with them."""

    check: str
    things: str  # what is counted
    skipped: str = ""  # why the check could not be made
    seen: int = 0
    faults: list[str] = field(default_factory=list)
    notes: str = ""  # shown after the count if the check passes

    def skip(self, why: str) -> None:
        """Marks the check as not made, or not to the end; earlier faults still fail it."""
        self.skipped = self.skipped or why

    def add(self, holds: bool, fault: str) -> None:
        """Counts one more thing; `fault` describes it if the claim does not hold."""
        self.seen += 1
        if not holds:
            self.faults.append(fault)

    def result(self) -> Check:
        """Returns the verdict: a single fault fails the check."""
        if self.faults:
            text = f"{len(self.faults)} of {self.seen} {self.things}; first: {self.faults[0]}"
            return Check(self.check, "fail", text)
        if self.skipped or not self.seen:
            return Check(self.check, "skipped", self.skipped or "no images to look at")
        return Check(self.check, "pass", f"{self.seen} {self.things}{self.notes}")


def listing(check: str, faults: Sequence[str], good: str) -> Check:
    """Returns a check that fails with all its faults, or passes with `good` if there are none."""
    return Check(check, "fail" if faults else "pass", "; ".join(faults) or good)
