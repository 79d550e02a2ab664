"""How each run was made, and what was said while it ran. Free of torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from fdbench.reporting import suspicions
from fdbench.reporting.scoring import precision
from fdbench.reporting.setting import Setting
from fdbench.store import Run

_DIGITS = 16  # of a hash; run.json has all of them

Facts = Mapping[str, str]


@dataclass(frozen=True)
class Origin:
    """One run; `facts` are those that not every run of the report shares."""

    name: str
    title: str
    command: str
    facts: Facts
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Provenance:
    """All runs, by setting; what they share is said once, and a machine by its place."""

    shared: Facts
    settings: tuple[tuple[str, tuple[Origin, ...]], ...]
    machines: tuple[str, ...]


def _facts(run: Run, machines: Sequence[str]) -> dict[str, str]:
    info = run.info
    count = len(run.columns)
    return {
        "weights": f"sha256 {info.model.weights[:_DIGITS]}",
        "data": f"fingerprint {info.data.fingerprint[:_DIGITS]}",
        "images": str(count) if count == info.images else f"{count} of {info.images}",
        "seed": str(info.seed),
        "precision": precision(info),
        "started": info.started,
        "seconds": f"{info.seconds:.0f}",
        **({"preprocessing": info.model.preprocessing} if info.model.preprocessing else {}),
        **({"sample": info.data.sample} if info.data.sample != "first" else {}),
        "machine": str(machines.index(_machine(run)) + 1),
    }


def _machine(run: Run) -> str:
    """Hardware and versions: `python 3.11.7, torch 2.11.0, cpu ...`."""
    known = run.info.environment.items()
    return ", ".join(f"{name} {value}" for name, value in known if value)


def _shared(facts: Sequence[Facts]) -> dict[str, str]:
    """What all of several runs have."""
    first, *others = facts
    same = {
        name: value
        for name, value in first.items()
        if all(value == one.get(name) for one in others)
    }
    return same if others else {}


def provenance(runs: Sequence[Run]) -> Provenance:
    """Every run of a report, and the machines that they ran on."""
    machines = list(dict.fromkeys(map(_machine, runs)))
    facts = {run: _facts(run, machines) for run in runs}
    shared = _shared(list(facts.values()))

    def origin(run: Run) -> Origin:
        own = {name: value for name, value in facts[run].items() if name not in shared}
        title = f"{run.info.model.name}, {run.info.attack.title}"
        return Origin(run.name, title, run.info.command, own, tuple(suspicions.of_run(run)))

    ordered = sorted(runs, key=lambda run: Setting.of(run).order)
    settings = groupby(ordered, key=lambda run: Setting.of(run).title)
    found = tuple((title, tuple(map(origin, ones))) for title, ones in settings)
    return Provenance(shared, found, tuple(machines))
