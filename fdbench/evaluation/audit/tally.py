"""How a check counts what it looks at, and what it then says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fdbench.store import Check


@dataclass
class Tally:
    """For how many things a claim holds, and the first that it does not hold for."""

    check: str
    things: str
    skipped: str = ""  # why it could not be made
    seen: int = 0
    faults: list[str] = field(default_factory=list)
    notes: str = ""  # said besides where the claim holds

    def drop(self, why: str) -> None:
        """The claim can't be checked; what was seen already still counts against it."""
        self.skipped = self.skipped or why

    def add(self, holds: bool, fault: str) -> None:
        """One more thing seen; `fault` says what is wrong with it if the claim does not hold."""
        self.seen += 1
        if not holds:
            self.faults.append(fault)

    def result(self) -> Check:
        """The verdict: one fault fails the check."""
        if self.faults:
            found = f"{len(self.faults)} of {self.seen} {self.things}; first: {self.faults[0]}"
            return Check(self.check, "fail", found)
        if self.skipped or not self.seen:
            return Check(self.check, "skipped", self.skipped or "no images to look at")
        return Check(self.check, "pass", f"{self.seen} {self.things}{self.notes}")


def plain(check: str, faults: Sequence[str], good: str) -> Check:
    """A check that is not counted: all its faults, or what there is to say without any."""
    return Check(check, "fail" if faults else "pass", "; ".join(faults) or good)
