"""The warnings of runs, under a report and in its tables. Free of torch."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

from fdbench.reporting.outcomes import differing_answers
from fdbench.reporting.sanity import implausible
from fdbench.store import Run

TIES = 0.01  # share of images that rounding may decide: less than that is no disagreement


_SAID: WeakKeyDictionary[Run, list[str]] = WeakKeyDictionary()  # every line of a run asks again


def of_run(run: Run) -> list[str]:
    """What was recorded while it ran, and what the sanity gate says."""
    if run not in _SAID:
        _SAID[run] = list(dict.fromkeys([*run.info.warnings, *implausible(run)]))
    return _SAID[run]


def warnings(runs: Sequence[Run]) -> list[str]:
    """Each warning of the runs once, with the models it is about."""
    about: dict[str, list[str]] = {}
    for run in runs:
        for text in of_run(run):
            about.setdefault(text, []).append(run.info.model.name)
    lines = [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in about.items()]
    return [*lines, *_disagreements(runs)]


def _disagreements(runs: Sequence[Run]) -> Iterator[str]:
    """Yields a line for each network whose runs answer differently on clean images.

    Weights name a network, and its code is not part of them: two files of one name may hold other
    code, in which case their runs are about two networks.
    """
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if not run.info.found.get("network", {}).get("random"):
            groups[run.info.model.weights, run.info.data.fingerprint].append(run)
    for same in groups.values():
        several, of_all = differing_answers([run.columns for run in same])
        if several > 1 and several > TIES * of_all:
            name = same[0].info.model.name
            yield (
                f"{name}: its runs disagree on {several} of {of_all} clean images: the "
                "weights are the same, the code around them is not"
            )
