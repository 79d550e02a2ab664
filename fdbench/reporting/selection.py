"""Which runs a report is about, and what it calls their models and data. Free of torch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path, PurePath

import numpy as np
from jaxtyping import Int

from fdbench.errors import BadValue, unknown
from fdbench.reporting.outcomes import places_of
from fdbench.store import Run, RunInfo

_NAMED = 10  # unfinished runs
Places = Int[np.ndarray, "..."]
Name = Callable[[RunInfo], str]


@dataclass(frozen=True)
class Selection:
    """The runs to report; empty fields select everything.

    `runs` are names or folders. `labels` are models' names in the report, by their own names.
    """

    runs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    latest: bool = False  # of each model's name, only the weights attacked last
    unfinished: bool = False  # also runs that lack images
    baseline: str | None = None  # the model, by its name in the report, to compare others with
    select: tuple[str, ...] = ()  # KEY=PATTERN; see _SELECTS
    claims: tuple[Path, ...] = ()  # RobustBench's files, or folders of them, to hold beside


ALL = Selection()


def selected(runs: Sequence[Run], wanted: Selection) -> tuple[list[Run], list[str]]:
    """The selected runs under their names in the report, and a line about those left out.

    Raises BadValue for a run, model, data set, attack or pattern that no run has.
    """
    chosen = _among(runs, wanted.runs, lambda run: run.name, "run")
    chosen = _among(chosen, wanted.models, lambda run: run.info.model.name, "model")
    chosen = _among(chosen, wanted.data, lambda run: run.info.data.name, "data set")
    chosen = _among(chosen, wanted.attacks, lambda run: run.info.attack.attack, "attack")
    chosen = _matching(chosen, wanted.select)
    chosen = _latest(chosen) if wanted.latest else chosen
    shown = [run for run in chosen if run.finished or wanted.unfinished]
    lines = list(_left_out([run for run in chosen if not (run.finished or wanted.unfinished)]))
    shown, contradicting = _consistent(shown)
    lines += contradicting
    if wanted.baseline is not None:
        shown_names = {wanted.labels.get(name, name) for name in (r.info.model.name for r in shown)}
        if wanted.baseline not in shown_names:
            raise unknown("model to compare with", wanted.baseline, shown_names)
    return _labelled(named(shown), wanted.labels), lines


def _left_out(runs: Sequence[Run]) -> Iterator[str]:
    """A line for each unfinished run, and its damaged rows; of many runs how many there are."""
    for run in runs[:_NAMED]:
        yield (
            f"{run.name} is left out: {len(run.columns)} of its {run.info.images} images are there "
            "(--unfinished shows it)"
        )
        yield from run.damaged
    if (more := len(runs) - _NAMED) > 0:
        yield f"{more} further unfinished runs are left out (--unfinished shows them)"


def _alike(one: Run, other: Run) -> bool:
    """Whether no image has one label here and another there."""
    return not len(_contradicted(one, other))


def _contradicted(run: Run, other: Run) -> Places:
    """The places of the run's images to which the other gives another label."""
    place = places_of(run.columns.images, other.columns.images)
    here = np.flatnonzero(place >= 0)
    return here[run.columns.label[here] != other.columns.label[place[here]]]


def _believed(runs: Sequence[Run]) -> Run:
    """Of runs of the same data the one that most agree with; then of most images, then the first.

    Nearly all runs have the same images and labels: only those that differ are compared.
    """
    same: dict[bytes, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.info.started):
        labels = run.columns.images.tobytes() + run.columns.label.tobytes()
        same.setdefault(sha256(labels).digest(), []).append(run)
    votes = {
        one[0].name: sum(len(other) for other in same.values() if _alike(one[0], other[0]))
        for one in same.values()
    }
    return max(
        (one[0] for one in same.values()), key=lambda run: (votes[run.name], len(run.columns))
    )


def _consistent(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs without those that contradict the others of the same data about an image's label.

    A line names each that is left out.
    """
    of_data: dict[str, list[Run]] = {}
    for run in runs:
        of_data.setdefault(run.info.data.fingerprint, []).append(run)
    believed = {data: _believed(ones) for data, ones in of_data.items()}
    kept, lines = [], []
    for run in runs:
        other = believed[run.info.data.fingerprint]
        wrong = _contradicted(run, other)
        if len(wrong):
            lines.append(
                f"{run.name} is left out: it gives {len(wrong)} images, the first being "
                f"{run.columns.images[wrong[0]]}, another label than {other.name}, on the same data"
            )
        else:
            kept.append(run)
    return kept, lines


def _among(
    runs: Sequence[Run], names: Iterable[str], name: Callable[[Run], str], what: str
) -> list[Run]:
    """The runs of these names; all if none is given."""
    wanted = {PurePath(one).name if what == "run" else one for one in names}
    known = {name(run) for run in runs}
    for one in wanted:
        if one not in known:
            raise unknown(what, one, known, "`fdbench list runs` shows all runs.")
    return [run for run in runs if not wanted or name(run) in wanted]


# What --select can ask about, and a run's value.
_SELECTS: dict[str, Callable[[RunInfo], str]] = {
    "model": lambda info: info.model.name,
    "data": lambda info: info.data.name,
    "attack": lambda info: info.attack.attack,
    "norm": lambda info: info.attack.norm,
    "eps": lambda info: info.attack.eps_text,
}


def _matching(runs: Sequence[Run], select: Sequence[str]) -> list[Run]:
    """The runs that match a pattern of every key given; `*` stands for anything.

    Raises BadValue for what is no KEY=PATTERN, an unknown key, or a pattern that no run matches.
    """
    patterns: dict[str, list[str]] = {}
    for one in select:
        key, equals, pattern = one.partition("=")
        if not (equals and pattern):
            raise BadValue(f"--select {one!r} is not KEY=PATTERN, as in --select eps=8/255.")
        if key not in _SELECTS:
            raise unknown("key to select by", key, _SELECTS)
        patterns.setdefault(key, []).append(pattern)
    for key, wanted in patterns.items():
        known = {_SELECTS[key](run.info) for run in runs}
        for pattern in wanted:
            if not any(fnmatchcase(value, pattern) for value in known):
                raise unknown(f"{key} that fits", pattern, known)
        runs = [r for r in runs if any(fnmatchcase(_SELECTS[key](r.info), p) for p in wanted)]
    return list(runs)


def _latest(runs: Sequence[Run]) -> list[Run]:
    """The runs whose weights were attacked last, of each model's name."""
    ordered = sorted(runs, key=lambda run: run.info.started)
    last = {run.info.model.name: run.info.model.weights for run in ordered}
    return [run for run in runs if last[run.info.model.name] == run.info.model.weights]


def named(runs: Sequence[Run]) -> list[Run]:
    """The runs with one name for equal data, and several for networks that differ.

    Data of the same fingerprint are one data set, whatever path it was opened by. Networks of one
    name and the same weights differ if their images are preprocessed differently.
    """
    data = _data_names(run.info for run in runs)
    several = _several_preprocessings(run.info for run in runs)
    return [_renamed(run, data, several) for run in runs]


def _renamed(run: Run, data: Mapping[str, str], several: set[str]) -> Run:
    info = run.info
    model = info.model
    if model.name in several:
        model = replace(model, name=f"{model.name} ({model.preprocessing or 'no preprocessing'})")
    same = replace(info.data, name=data[info.data.fingerprint])
    return replace(run, info=replace(info, model=model, data=same))


def _data_names(infos: Iterable[RunInfo]) -> dict[str, str]:
    """The shortest name of each data set, by fingerprint: `npz:cifar10` for its path.

    Data sets whose short names are equal keep their paths, and those of one path that differ show
    the first digits of their fingerprints: they never share a column.
    """
    names: dict[str, str] = {}
    split = {}
    for info in infos:
        split[info.data.fingerprint] = info.data.split
        known = names.get(info.data.fingerprint, info.data.name)
        names[info.data.fingerprint] = min(
            known, info.data.name, key=lambda name: (len(name), name)
        )
    short = {key: _short(name) for key, name in names.items()}
    taken = list(short.values())
    kept = {key: short[key] if taken.count(short[key]) == 1 else names[key] for key in names}
    shared = [(kept[key], split[key]) for key in kept]
    return {
        key: name if shared.count((name, split[key])) == 1 else f"{name} ({key[:6]})"
        for key, name in kept.items()
    }


def _short(name: str) -> str:
    """`npz:cifar10` of `npz:/data/cifar10/test.npz`: without folders that are only a place."""
    kind, colon, path = name.partition(":")
    if not colon or "/" not in path:
        return name
    parts = Path(path)
    last = parts.parent.name if parts.stem in ("test", "train", "val") else parts.name
    return f"{kind}:{last or parts.name}"


def _several_preprocessings(infos: Iterable[RunInfo]) -> set[str]:
    """The models' names that have one set of weights and more than one preprocessing."""
    kinds: dict[tuple[str, str], set[str]] = {}
    for info in infos:
        model = info.model
        kinds.setdefault((model.name, model.weights), set()).add(model.preprocessing)
    return {name for (name, _), preprocessings in kinds.items() if len(preprocessings) > 1}


def _labelled(runs: Sequence[Run], labels: Mapping[str, str]) -> list[Run]:
    known = {run.info.model.name for run in runs}
    for name in labels:
        if name not in known:
            raise unknown("model to label", name, known)
    return [
        replace(
            run,
            info=replace(
                run.info,
                model=replace(
                    run.info.model, name=labels.get(run.info.model.name, run.info.model.name)
                ),
            ),
        )
        for run in runs
    ]
