"""Black-box scores: networks on stored adversarial images that were made without them.

All or nothing (CAAD 2018; Xie et al. 2019, Sec. 6.2): an image counts only if the network is right
under every attacker. Its prediction for the clean image does not count, unless the clean image is
itself one of the set's attackers. Every number is a pure function of rows. Free of torch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import comb

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int
from pandas import DataFrame

from fdbench.reporting import comparing, outcomes, scoring, suspicions
from fdbench.reporting.attack_columns import sees_network
from fdbench.reporting.scoring import Line, Scores, percent, rounded, scored
from fdbench.reporting.setting import BLACK_BOX, Setting
from fdbench.specs import Published, attacker_battery, recipe_files
from fdbench.stats import wilson
from fdbench.store import Run

ALL = "all-or-nothing"
SPARED = 2  # attackers the paper's Table 2 leaves out for its 13.4 %: the two strongest
SPARE = f"all but {SPARED}"
DENOMINATORS = ("all images", "clean-correct")
_WHO = (*BLACK_BOX, "model", "weights", "denominator", "n", "planned")
_END = ("published", "difference", "surrogates", "note", "warnings", "run")
_CURVES = ("strongest", "mean", "weakest")
CURVE = (*_WHO, "attackers", "added", *scored(_CURVES))
PAIRED = ("set", "digest", *comparing.PAIRED)

Survival = Bool[np.ndarray, "images attackers"]
Images = Bool[np.ndarray, " images"]


def of(runs: Iterable[Run]) -> list[Run]:
    """The black-box runs."""
    return [run for run in runs if not sees_network(run.info.attack)]


def any_k(survived: Survival, k: int) -> float:
    """Mean all-or-nothing accuracy over all choices of `k` of the attackers.

    An image that survives s of m attackers survives C(s, k) of the C(m, k) choices, so the mean is
    exact without enumerating them. NaN without images.
    """
    count, m = survived.shape
    if not count:
        return float("nan")
    good = sum(comb(int(s), k) for s in survived.sum(1))
    return good / (count * comb(m, k))


@dataclass(frozen=True, eq=False)
class Victim:
    """One network on one set: its images, and the attackers under which it is right on each."""

    run: Run
    attackers: tuple[str, ...]  # in the order of the set
    places: Int[np.ndarray, " images"]  # of the images judged under all attackers

    @cached_property
    def survived(self) -> Survival:
        """Where it is right: one row per image, one column per attacker."""
        right = np.zeros((len(self.places), len(self.attackers)), bool)
        for place, name in enumerate(self.attackers):
            right[:, place] = outcomes.right(self.run.columns, name)[self.places]
        return right

    @cached_property
    def clean(self) -> Images:
        """Where it is right on the clean image."""
        return outcomes.right_when_clean(self.run.columns)[self.places]

    @cached_property
    def hit(self) -> Images:
        """The images that any attacker turns into its target class."""
        return outcomes.hit(self.run.columns, outcomes.WORST)[self.places]

    @cached_property
    def by_strength(self) -> list[int]:
        """Indices of the attackers, the strongest against this network first.

        Strength is measured on all images; ties keep the order of the set.
        """
        return [int(i) for i in np.argsort(self.survived.sum(0), kind="stable")]

    def survives(self, places: Sequence[int]) -> Images:
        """The images on which the network is right under all of the attackers at `places`."""
        return np.all(self.survived[:, list(places)], axis=1)

    def counted(self, denominator: str) -> Images:
        """The images that a line with this denominator counts."""
        return self.clean if denominator == DENOMINATORS[1] else np.ones_like(self.clean)


def victim(run: Run) -> Victim:
    """The victim of a black-box run; without rows it has attackers, but no images."""
    columns = run.columns
    attackers = run.info.further.get("attackers") or outcomes.budgets_of_first(columns)
    return Victim(run, tuple(attackers), np.flatnonzero(outcomes.judged(columns, attackers)))


def _percent(name: str, right: Images) -> Scores:
    return percent(name, int(right.sum()), len(right))


def _who(one: Victim, denominator: str) -> Line:
    return {
        **Setting.of(one.run).columns(BLACK_BOX),
        **scoring.network(one.run.info),
        "denominator": denominator,
        "n": int(one.counted(denominator).sum()),
        "planned": one.run.info.images,
    }


def _same_attack(row: Published, one: Victim) -> bool:
    """Whether a number was published for this threat and for exactly this set's attackers."""
    if row.attack not in recipe_files("attacks") or row.iters is not None:
        return False
    battery = attacker_battery(row.attack)
    same_attackers = {attacker.name for attacker in battery.attackers} == set(one.attackers)
    return same_attackers and scoring.same_threat(row, one.run.info.attack)


def _ending(one: Victim, denominator: str, score: float | None) -> Line:
    """The columns after the scores; published numbers are about all images."""
    published_rows = scoring.published(one.run.info) if denominator == DENOMINATORS[0] else ()
    published = next((row.accuracy for row in published_rows if _same_attack(row, one)), None)
    sources = one.run.info.further.get("surrogates", ())
    warnings = suspicions.of_run(one.run)
    return {
        "published": published,
        "difference": scoring.less_published(score, published),
        "surrogates": ", ".join(str(source["name"]) for source in sources),
        "note": scoring.note(len(one.places), one.run.info, bool(warnings)),
        "warnings": "; ".join(warnings),
        "run": one.run.name,
    }


def column(attacker: str) -> str:
    """The attacker's column; a name that the table already uses gets a suffix."""
    taken = {*_WHO, *_END, ALL, SPARE, "clean", "success"}
    return f"{attacker} (attacker)" if attacker in taken else attacker


def _line(one: Victim, denominator: str) -> Line:
    counted = one.counted(denominator)
    order, m = one.by_strength, len(one.attackers)
    scores = _percent("clean", one.clean[counted])
    for place, attacker in enumerate(one.attackers):
        scores |= _percent(column(attacker), one.survived[counted, place])
    scores |= _percent(ALL, one.survives(order)[counted])
    if m > SPARED:
        scores |= _percent(SPARE, one.survives(order[SPARED:])[counted])
    if one.run.info.attack.targeted:
        scores |= _percent("success", one.hit[counted])
    return {**_who(one, denominator), **scores, **_ending(one, denominator, scores[ALL])}


def victims(runs: Sequence[Run]) -> list[Victim]:
    """Each network on each set once, its run with most images; networks without denoiser first."""
    kept = scoring.fullest(
        map(victim, of(runs)),
        key=lambda one: (Setting.of(one.run), scoring.contestant(one.run)),
        size=lambda one: len(one.places),
    )
    return [kept[key] for key in sorted(kept, key=lambda key: (key[0].order, key[1]))]


def blackbox(runs: Sequence[Run]) -> DataFrame:
    """The form of the paper's Table 2: per network and set, one line for each of DENOMINATORS.

    Columns: the clean images, each attacker, all of them (ALL), all but the SPARED strongest
    against this network, and for targeted sets `success`, any attacker's hit; each with the ends of
    its 95 % interval. Attackers of other sets are empty.
    """
    networks = victims(runs)
    lines = [_line(one, denominator) for denominator in DENOMINATORS for one in networks]
    attackers = dict.fromkeys(column(name) for one in networks for name in one.attackers)
    targeted = ["success"] if any(one.run.info.attack.targeted for one in networks) else []
    measured = ["clean", *attackers, ALL, SPARE, *targeted]
    ends = scored(measured)
    table = DataFrame(lines, columns=[*_WHO, *ends, *_END])
    numbers = [*ends, "published", "difference"]
    table[numbers] = table[numbers].astype(float)
    return table


def _at(one: Victim, denominator: str, k: int) -> Line:
    """All-or-nothing accuracy under `k` attackers, chosen in three ways."""
    counted, order = one.counted(denominator), one.by_strength
    n = int(counted.sum())
    scores: Scores = {}
    if n:
        mean = any_k(one.survived[counted], k)
        # A mean of numbers in [0, 1] varies no more than a proportion: its interval is wide enough.
        shares = map(rounded, (mean, *wilson(round(mean * n), n)))
        scores = dict(zip(scored(["mean"]), shares, strict=True))
    return {
        **_who(one, denominator),
        "attackers": k,
        "added": one.attackers[order[k - 1]],
        **_percent("strongest", one.survives(order[:k])[counted]),
        **scores,
        **_percent("weakest", one.survives(order[len(order) - k :])[counted]),
    }


def curve(runs: Sequence[Run]) -> DataFrame:
    """All-or-nothing accuracy against the number of attackers, in the columns CURVE.

    `strongest`: the k strongest against the network, `added` being the k-th; `mean`: over all
    choices of k; `weakest`: the k weakest, so all but the strongest m - k.
    """
    lines = [
        _at(one, denominator, k)
        for one in victims(runs)
        for denominator in DENOMINATORS
        for k in range(1, len(one.attackers) + 1)
    ]
    table = DataFrame(lines, columns=list(CURVE))
    numbers = scored(_CURVES)
    table[numbers] = table[numbers].astype(float)
    return table


def paired(runs: Sequence[Run], baseline: str | None = None) -> DataFrame:
    """Two networks on the same set, under each attacker and under all: columns PAIRED.

    Which two: as in comparing.comparisons.
    """
    parts = []
    for setting, ones in groupby(victims(runs), key=lambda one: Setting.of(one.run)):
        lines = comparing.comparisons([one.run for one in ones], baseline)
        lines["attack"] = lines["attack"].replace(outcomes.WORST, ALL)
        lines.insert(0, "digest", setting.digest)
        lines.insert(0, "set", setting.set)
        parts += [] if lines.empty else [lines]
    return pd.concat(parts, ignore_index=True) if parts else DataFrame(columns=list(PAIRED))
