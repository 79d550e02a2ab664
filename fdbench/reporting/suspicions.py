"""The warnings under a report. Free of torch."""

from collections.abc import Sequence

from fdbench.reporting.sanity import implausible
from fdbench.store import Run


def suspicions(run: Run) -> list[str]:
    """What the sanity gate says of a run."""
    return implausible(run)


def warnings(runs: Sequence[Run]) -> list[str]:
    """Each warning and each suspicion of the runs once, with the models it is about."""
    about: dict[str, list[str]] = {}
    for run in runs:
        for text in [*run.info.warnings, *suspicions(run)]:
            about.setdefault(text, []).append(run.info.model.name)
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in about.items()]
