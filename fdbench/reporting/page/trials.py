"""One network under one threat: every attempt to break it, image by image.

The images are those of the run that has most, as in the headline; an attempt is one reading of a
run: a budget of iterations, a stage of an attack that has stages, or an attacker of a stored set.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from fdbench.reporting import outcomes
from fdbench.reporting.attack_columns import (
    attack_columns,
    inside_curve,
    sees_network,
    stages,
    stored_set,
)
from fdbench.reporting.setting import THREAT, Setting
from fdbench.store import Columns, Run

Images = Bool[np.ndarray, " images"]
Whole = Int[np.ndarray, " images"]

NOBODY = -1  # in `first`: no attempt broke the image
UNKNOWN = -1  # in `when` and `answer`: not recorded
_DIGITS = 6  # of a run's hash, where two attempts would have one name


@dataclass(frozen=True, eq=False)
class Attempt:
    """One reading of a run, on the images of its trial; those not `judged` are never broken."""

    label: str
    run: Run
    order: tuple[int, float, str]  # cheapest first: iterations, then stages, then black box
    judged: Images
    broken: Images
    answer: Whole  # the class predicted
    when: Whole  # the first wrong iterate


@dataclass(frozen=True, eq=False)
class Trial:
    """One network under one threat; `attempts` are ordered from the cheapest."""

    model: str
    weights: str  # the first digits of their hash
    label: str  # the model's name, with its weights where networks of several weights have it
    setting: Setting  # of the columns THREAT
    fullest: Run
    attempts: tuple[Attempt, ...]

    @property
    def ids(self) -> Shaped[np.ndarray, "..."]:
        """The images."""
        return self.fullest.columns.images

    @cached_property
    def clean_right(self) -> Images:
        """Where the network is right on the clean image."""
        return outcomes.right_when_clean(self.fullest.columns)

    @cached_property
    def survived(self) -> Images:
        """Where it is right when clean and under every attempt: the headline's worst case."""
        return self.clean_right & (self.times == 0)

    @cached_property
    def first(self) -> Whole:
        """For each image, the cheapest attempt that broke it; NOBODY where none did."""
        found = np.full(len(self.ids), NOBODY, np.int64)
        for place, one in reversed(list(enumerate(self.attempts))):
            found[one.broken] = place
        return found

    def alone(self, place: int) -> int:
        """How many clean-correct images only this attempt broke."""
        return int((self.clean_right & self.attempts[place].broken & (self.times == 1)).sum())

    @cached_property
    def times(self) -> Whole:
        """How many of the attempts broke each image."""
        counts = np.zeros(len(self.ids), np.int64)
        for one in self.attempts:
            counts += one.broken
        return counts

    @cached_property
    def strongest(self) -> tuple[str, Run] | None:
        """The run that alone leaves the fewest images of the trial right, and what it is called."""
        left: dict[Run, Images] = {}
        for one in self.attempts:
            left[one.run] = left.get(one.run, self.clean_right) & ~one.broken
        if not left:
            return None
        run = min(left, key=lambda run: int(left[run].sum()))
        return run_label(run), run


def run_label(run: Run) -> str:
    """`pgd 100, restarts 10`, `autoattack`, `caad-8: all or nothing`: the run in one cell."""
    name, _ = stored_set(run.info.attack)
    if name:
        return f"set {name}"
    budgets = [one.iters for one in outcomes.at_budgets(run) if one.iters]
    deepest = max(budgets, default=None)
    return _label(run, outcomes.budgets_of_first(run.columns)[-1:], deepest)


def _label(run: Run, reading: Sequence[str], iters: int | None) -> str:
    spec = run.info.attack
    budget = str(iters) if iters else next(iter(reading), spec.attack)
    columns = attack_columns(spec, spec.attack if stages(spec) else budget, iters)
    parts = [f"{columns['attack']} {iters or ''}".rstrip()]
    parts += [f"loss {columns['loss']}"] if columns["loss"] not in (None, "ce") else []
    parts += [f"restarts {columns['restarts']}"] if columns["restarts"] not in (None, 1) else []
    parts += [f"seed {run.info.seed}"] if run.info.seed else []
    return ", ".join(parts)


def _spread(values: Whole, at: Any, count: int) -> Whole:
    """Values of some rows, UNKNOWN in the others."""
    every = np.full(count, UNKNOWN, np.int64)
    every[at] = values
    return every


def _iterate(columns: Columns, reading: str) -> Whole:
    """The first wrong iterate up to a reading; UNKNOWN where none is, or none is recorded."""
    found = np.full(len(columns), UNKNOWN, np.int64)
    by_reading = columns.first_wrong_by.get(reading)
    for one in (columns.first_wrong, *([by_reading] if by_reading else [])):
        found[one.at] = np.where(one.known, one.values, UNKNOWN)
    return found


def _by_stage(run: Run) -> Iterator[Attempt]:
    """The stages of a run, each with the images that it broke."""
    columns, count = run.columns, len(run.columns)
    codes = _spread(columns.broken_by.values, columns.broken_by.at, count)
    known = np.zeros(count, bool)
    known[columns.broken_by.at] = columns.broken_by.known
    answer = _answers(columns, outcomes.WORST)
    for place, stage in enumerate(stages(run.info.attack)):
        number = columns.breakers.index(stage) if stage in columns.breakers else UNKNOWN
        broken = known & (codes == number)
        label, when = f"{run_label(run)}: {stage}", np.full(count, UNKNOWN, np.int64)
        yield Attempt(
            label, run, (1, float(place), label), np.ones(count, bool), broken, answer, when
        )


def _answers(columns: Columns, reading: str) -> Whole:
    """The class predicted at a reading; at WORST, a wrong one wherever there is one."""
    every = np.full(len(columns), UNKNOWN, np.int64)
    for name, one in columns.pred.items():
        if reading in (name, outcomes.WORST):
            wrong = one.values != columns.label[one.at]
            here = every[one.at]
            every[one.at] = np.where(wrong | (here == UNKNOWN), one.values, here)
    return every


def _by_reading(run: Run) -> Iterator[Attempt]:
    columns, (name, _) = run.columns, stored_set(run.info.attack)
    for one in outcomes.at_budgets(run):
        if one.budget == outcomes.WORST:
            continue
        label = f"{name}: {one.budget}" if name else _label(run, [one.budget], one.iters)
        kind = 0 if one.iters else 1 if sees_network(run.info.attack) else 2
        wrong = one.judged & ~one.verdicts.right
        when = _iterate(columns, one.budget) if one.iters else np.full(len(wrong), UNKNOWN)
        reached = np.where(when <= (one.iters or 0), when, UNKNOWN)
        answer = _answers(columns, one.budget)
        order = kind, float(one.iters or 0), label
        yield Attempt(label, run, order, one.judged, wrong, answer, reached)


def _readings(run: Run) -> Iterator[Attempt]:
    staged = bool(stages(run.info.attack)) and bool(run.columns.broken_by.known.any())
    return _by_stage(run) if staged else _by_reading(run)


def _placed(read: Attempt, ids: Shaped[np.ndarray, "..."]) -> Attempt:
    """An attempt on the images of its own run, placed on those of its trial."""
    if read.run.columns.images is ids:
        return read
    there = outcomes.places_of(ids, read.run.columns.images)
    have = there >= 0
    there = np.where(have, there, 0)
    return replace(
        read,
        judged=have & read.judged[there],
        broken=have & read.broken[there],
        answer=np.where(have, read.answer[there], UNKNOWN),
        when=np.where(have, read.when[there], UNKNOWN),
    )


def _named_apart(attempts: Sequence[Attempt]) -> Iterator[Attempt]:
    """The attempts, those of one name with the first digits of their run's hash."""
    names = Counter(one.label for one in attempts)
    for one in attempts:
        hashed = one.run.name.rpartition("-")[2][:_DIGITS]
        yield one if names[one.label] == 1 else replace(one, label=f"{one.label} ({hashed})")


def trials(runs: Sequence[Run]) -> list[Trial]:
    """Every network under every threat, ordered by threat and name."""
    groups: dict[tuple[str, str, Setting], list[Run]] = {}
    for run in runs:
        if len(run.columns):
            setting = Setting(**Setting.of(run).columns(THREAT))
            groups.setdefault((run.info.model.name, run.info.model.weights, setting), []).append(
                run
            )
    ordered = sorted(groups, key=lambda key: (key[2].order, key[0], key[1]))
    names = Counter(model for model, _ in {key[:2] for key in ordered})
    return [_trial(key, groups[key], names[key[0]] > 1) for key in ordered]


def _trial(key: tuple[str, str, Setting], runs: Sequence[Run], shared_name: bool) -> Trial:
    model, weights, setting = key
    label = f"{model}, {weights[:8]}" if shared_name else model
    fullest = max(runs, key=lambda run: len(run.columns))
    placed = [_placed(one, fullest.columns.images) for run in runs for one in _readings(run)]
    ordered = sorted(_named_apart(placed), key=lambda one: one.order)
    return Trial(model, weights[:8], label, setting, fullest, tuple(ordered))


def apart_from_curves(trials: Sequence[Trial]) -> list[Trial]:
    """Those of threats that are more than a radius of a security curve, which has its own chart."""
    more = {
        one.setting
        for one in trials
        if not all(inside_curve(attempt.run.info.attack) for attempt in one.attempts)
    }
    return [one for one in trials if one.setting in more]
