"""The warnings of runs, under a report and in its tables. Free of torch."""

from collections.abc import Sequence

from fdbench.reporting.sanity import implausible
from fdbench.store import Run


def of_run(run: Run) -> list[str]:
    """What was recorded while it ran, and what the sanity gate says."""
    return list(dict.fromkeys([*run.info.warnings, *implausible(run)]))


def warnings(runs: Sequence[Run]) -> list[str]:
    """Each warning of the runs once, with the models it is about."""
    about: dict[str, list[str]] = {}
    for run in runs:
        for text in of_run(run):
            about.setdefault(text, []).append(run.info.model.name)
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in about.items()]
