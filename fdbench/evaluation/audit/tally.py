"""Checks that count what they look at, and checks that only list what is wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fdbench.store import Check


@dataclass
class Tally:
    """For how many things a claim holds, and what is wrong with the others."""

    check: str
    things: str  # what is counted
    skipped: str = ""  # why the check could not be made
    seen: int = 0
    faults: list[str] = field(default_factory=list)
    notes: str = ""  # shown after the count if the check passes

    def skip(self, why: str) -> None:
        """The check can't be made, or not to the end; faults seen before still fail it."""
        self.skipped = self.skipped or why

    def add(self, holds: bool, fault: str) -> None:
        """Counts one more thing; `fault` describes it for the case that the claim is wrong."""
        self.seen += 1
        if not holds:
            self.faults.append(fault)

    def result(self) -> Check:
        """The verdict: a single fault fails the check."""
        if self.faults:
            text = f"{len(self.faults)} of {self.seen} {self.things}; first: {self.faults[0]}"
            return Check(self.check, "fail", text)
        if self.skipped or not self.seen:
            return Check(self.check, "skipped", self.skipped or "no images to look at")
        return Check(self.check, "pass", f"{self.seen} {self.things}{self.notes}")


def listing(check: str, faults: Sequence[str], good: str) -> Check:
    """A check that fails with all its faults, or passes with `good` if there are none."""
    return Check(check, "fail" if faults else "pass", "; ".join(faults) or good)
