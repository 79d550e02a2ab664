"""The doctor's findings, a JSON file for each network, data set and threat. Free of torch."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fdbench.console import warn
from fdbench.errors import FdbenchError, SanityFailed
from fdbench.files import contents, parse_json, safe, write_atomically
from fdbench.specs import digest, parsed
from fdbench.store.run_json import RunInfo
from fdbench.store.sealing import sealed_json, unsealed
from fdbench.store.workspace import Workspace
from fdbench.units import print_size

VERDICTS = ("pass", "fail", "skipped")
_LONGEST = 100  # characters of a file's name before threat and hash
_SAME_EPS = 1e-6  # relative: 8/255 and its decimals as typed
NOT_SEEN = "doctor has not seen this threat"


@dataclass(frozen=True)
class Check:
    """One check's verdict, with the evidence in words."""

    check: str
    verdict: str  # one of VERDICTS
    found: str


@dataclass(frozen=True)
class Findings:
    """All checks of one network on one data set under one threat.

    `weights` is the sha256 of the network's parameters, `fingerprint` that of the data, `eps` is in
    image units and `images` how many were examined, in the order of `sample`. `expected` is the
    clean accuracy that was wanted. Files of the first version lack everything after `started`:
    their threat is unknown.
    """

    model: str
    weights: str
    data: str
    checks: tuple[Check, ...]
    started: str  # ISO 8601, UTC
    norm: str | None = None
    eps: float | None = None
    images: int | None = None
    split: str | None = None
    fingerprint: str | None = None
    preprocessing: str = ""  # as in ModelInfo: applied to images first
    sample: str = "first"
    seed: int = 0
    eot: int = 1
    surrogates: str = ""  # names and first digits of their weights
    expected: str = ""

    @property
    def threat(self) -> str:
        """`linf 8/255`, or "an unknown threat"."""
        if self.norm is None or self.eps is None:
            return "an unknown threat"
        return f"{self.norm} {print_size(self.eps, self.norm)}"

    @property
    def title(self) -> str:
        """`r20 on fashion-mini test, linf 8/255, 200 images`: what was examined."""
        data = f"{self.data} {self.split}" if self.split else self.data
        sample = "" if self.sample == "first" else f" ({self.sample})"
        images = f", {self.images} images{sample}" if self.images else ""
        return f"{self.model} on {data}, {self.threat}{images}"

    @property
    def name(self) -> str:
        """The name of its file, without the ending: one for each network, images and threat."""
        about = [self.weights, self.preprocessing, self.fingerprint, self.norm, self.eps]
        about += [self.images, self.sample, self.seed, self.eot]
        size = self.threat.replace(" ", "-").split("/")[0]
        subject = f"{safe(self.model)}-{safe(self.data)}"[:_LONGEST]
        return f"{subject}-{size}-{digest(about)[:8]}"

    def concerns(self, run: RunInfo) -> bool:
        """Whether a run has this network, these data and this threat."""
        if self.eps is None:
            return False
        return math.isclose(self.eps, run.attack.eps, rel_tol=_SAME_EPS) and (
            (self.norm, self.weights, self.preprocessing, self.fingerprint)
            == (run.attack.norm, run.model.weights, run.model.preprocessing, run.data.fingerprint)
        )

    def lines(self) -> list[str]:
        """The notes under a table: each failed check, or one line if none failed."""
        failed = [one for one in self.checks if one.verdict == "fail"]
        if failed:
            return [f"doctor: {one.check}: {one.found}" for one in failed]
        skipped = sum(one.verdict == "skipped" for one in self.checks)
        more = f", {skipped} skipped" if skipped else ""
        return [f"doctor passed ({len(self.checks) - skipped} checks{more})"]


def write_findings(workspace: Workspace | Path, findings: Findings) -> Path:
    """Stores the findings, replacing those of the same name; returns the path."""
    return _write(Workspace.of(workspace).findings(findings.name), findings)


def write_unfinished(workspace: Workspace, findings: Findings) -> None:
    """Stores the checks done so far, for `read_unfinished`."""
    _write(workspace.unfinished_findings(findings.name), findings)


def _write(path: Path, findings: Findings) -> Path:
    write_atomically(path, sealed_json(asdict(findings)))
    return path


def read_unfinished(workspace: Workspace, about: Findings) -> tuple[Check, ...]:
    """Returns the checks done before a kill, if they were about the same.

    Raises FdbenchError for a malformed file.
    """
    path = workspace.unfinished_findings(about.name)
    if not path.is_file():
        return ()
    before = _read(path)
    same = replace(before, checks=(), started=about.started) == about
    return before.checks if same else ()


def _read(path: Path) -> Findings:
    """The findings in one file. Raises FdbenchError for an invalid field or verdict."""
    remedy = "Move it away, and run `fdbench doctor` again."
    try:
        written = dict(parse_json(contents(path)))
        table = unsealed(written, path, remedy, old=True)
        checks = [parsed(Check, check, "a check") for check in table["checks"]]
        findings = parsed(Findings, {**table, "checks": checks}, "the file")
    except SanityFailed:
        raise
    except (ValueError, TypeError, KeyError, FdbenchError) as reason:
        raise FdbenchError(f"{path} is not what the doctor wrote: {reason}.\n{remedy}") from reason
    if any(check.verdict not in VERDICTS for check in checks):
        raise FdbenchError(f"{path} is not what the doctor wrote: verdicts are {VERDICTS}.")
    if "check" in written and path.stem != findings.name:
        raise SanityFailed(f"{path} holds the findings of {findings.name}.\n{remedy}")
    return findings


def read_findings(workspace: Workspace | Path) -> list[Findings]:
    """All findings of a workspace, by file name; malformed ones are named, and left out."""
    known = []
    for path in Workspace.of(workspace).all_findings():
        try:
            known.append(_read(path))
        except FdbenchError as reason:
            warn(reason.message)
    return known


def findings_about(known: Sequence[Findings], runs: Sequence[RunInfo]) -> list[str]:
    """What the doctor says about the networks of these runs, on their data and under their threat.

    One line per finding, `r20 on cifar10 test, linf 8/255, 200 images: ...`, and one that names the
    networks without any.
    """
    best = [deepest(known, run) for run in runs]
    said = dict.fromkeys(one for one in best if one)
    lines = [f"{one.title}: {line}" for one in said for line in one.lines()]
    unseen = [run.model.name for run, one in zip(runs, best, strict=True) if not one]
    return [*lines, *([f"{NOT_SEEN}: {', '.join(dict.fromkeys(unseen))}"] if unseen else [])]


def deepest(known: Sequence[Findings], run: RunInfo) -> Findings | None:
    """Returns the findings about a run on the most images, the latest of several; None if none."""
    about = [one for one in known if one.concerns(run)]
    return max(about, key=lambda one: (one.images or 0, one.started), default=None)
