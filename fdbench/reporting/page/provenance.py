"""How each run was made, and what was said while it ran. Free of torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fdbench.reporting import suspicions
from fdbench.reporting.scoring import precision
from fdbench.reporting.setting import Setting
from fdbench.store import Run

_DIGITS = 16  # of a hash; run.json has all of them


@dataclass(frozen=True)
class Origin:
    """One run; `machine` is the place of its environment among all machines of the report."""

    name: str
    title: str
    command: str
    facts: Mapping[str, str]
    machine: int
    warnings: tuple[str, ...]


def _facts(run: Run) -> dict[str, str]:
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
    }


def _machine(run: Run) -> str:
    """Hardware and versions: `python 3.11.7, torch 2.11.0, cpu ...`."""
    known = run.info.environment.items()
    return ", ".join(f"{name} {value}" for name, value in known if value)


def origins(runs: Sequence[Run]) -> tuple[list[Origin], list[str]]:
    """Every run, and the machines that they ran on."""
    machines = list(dict.fromkeys(map(_machine, runs)))
    found = []
    for run in runs:
        info = run.info
        title = f"{info.model.name}, {info.attack.title}, {Setting.of(run).title}"
        warnings = tuple(suspicions.of_run(run))
        place = machines.index(_machine(run))
        found.append(Origin(run.name, title, info.command, _facts(run), place, warnings))
    return found, machines
