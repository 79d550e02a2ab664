"""Two networks under the same attack, image by image, and what may be concluded.

Every pair stands in the CSV. A report shows those with one network, a baseline that was named or
else the best, and under each attack at its largest budget: these are the comparisons that were
made, and their p-values are corrected for their number. Free of torch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from pandas import DataFrame

from fdbench.reporting.attack_columns import identity_at
from fdbench.reporting.outcomes import WORST, RunAtBudget, at_budgets
from fdbench.reporting.scoring import Line, conditions, contestant, fullest, network, rounded
from fdbench.reporting.setting import THREAT, Setting, in_order
from fdbench.specs import digest
from fdbench.stats import LEVEL, Paired, corrected, images_needed, paired_all
from fdbench.store import Run

MANY = 20  # networks; of more, each is compared with one only: pairs grow with the square
POINT = 0.01  # the difference that `needed` is about: what the authors' small networks gain
BETTER, WORSE, UNDECIDED = "better", "worse", "not distinguishable"
PAIRED = (
    *(*THREAT, "attack", "loss", "restarts", "iters"),
    *("precision", "seed", "model", "weights", "against", "against_weights", "n"),
    *("difference", "difference_low", "difference_high", "only_model", "only_against", "p"),
    *("p_holm", "verdict", "needed", "shown"),
)
_SAME = ("attack", "loss", "restarts", "precision")  # of one attack at several budgets and seeds


@dataclass(frozen=True, eq=False)
class _Group:
    """The networks under one attack at one budget, baselines first, and those to compare with."""

    networks: tuple[RunAtBudget, ...]
    firsts: tuple[RunAtBudget, ...]
    named: bool  # a baseline was asked for

    def pairs(self) -> Iterable[tuple[RunAtBudget, RunAtBudget]]:
        """Which to compare with which: (against, model). Of two, the baseline is `against`."""
        if len(self.networks) == 2 and not self.named:
            return [(self.networks[0], self.networks[1])]
        others = [one for one in self.networks if one not in self.firsts]
        with_first = [*combinations(self.firsts, 2), *product(self.firsts, others)]
        rest = not self.named and len(self.networks) <= MANY
        return [*with_first, *(combinations(others, 2) if rest else ())]

    def leads(self, against: RunAtBudget, one: RunAtBudget) -> bool:
        """Whether the pair has a network that the others are compared with."""
        return against in self.firsts or one in self.firsts

    @property
    def made(self) -> int:
        """How many comparisons were made: with the best, all, since it is chosen from them."""
        count = len(self.networks)
        return len(list(self.pairs())) if self.named else count * (count - 1) // 2


@dataclass(frozen=True, eq=False)
class _Compared:
    """One pair of networks: its group, its counts, its line of the table."""

    group: _Group
    both: Paired
    line: Line


def same_conditions(one: RunAtBudget) -> str:
    """A digest, equal for two outcomes if and only if they may be compared image by image."""
    info = one.run.info
    data = [info.data.name, info.data.split, info.data.fingerprint]
    attack = identity_at(info.attack, one.budget, one.iters)
    return digest([data, attack, info.seed, info.precision, dict(info.further)])


def _share(one: RunAtBudget) -> float:
    return one.verdicts.total / one.n if one.n else 0.0


def _best(groups: Sequence[Sequence[RunAtBudget]]) -> tuple[bool, str, str]:
    """The most accurate network of a setting: where most networks are, under the hardest attack."""
    fair = max(groups, key=lambda group: (len(group), -sum(map(_share, group))))
    return contestant(max(fair, key=_share).run)


def _groups(runs: Sequence[Run], baseline: str | None) -> Iterator[_Group]:
    alike: dict[str, list[RunAtBudget]] = {}
    for one in (one for run in runs for one in at_budgets(run)):
        alike.setdefault(same_conditions(one), []).append(one)
    settings: dict[Setting, list[list[RunAtBudget]]] = {}
    for group in alike.values():
        kept = fullest(group, lambda one: contestant(one.run), lambda one: one.n)
        networks = [kept[who] for who in sorted(kept)]
        settings.setdefault(Setting.of(networks[0].run), []).append(networks)
    for several in settings.values():
        best = _best(several)
        for group in several:
            mine = [one for one in group if one.run.info.model.name == baseline]
            if baseline is None:
                leading = (one for one in group if contestant(one.run) == best)
                mine = [next(leading, max(group, key=_share))]
            yield _Group(tuple(group), tuple(mine), baseline is not None)


def _partial(group: _Group) -> bool:
    """Whether this is one of several attackers that are scored together."""
    one = group.networks[0]
    return one.iters is None and one.budget != WORST and len(one.run.columns.pred) > 1


def _line(against: RunAtBudget, one: RunAtBudget, both: Paired, shown: bool) -> Line:
    other = network(against.run.info)
    line = {key: value for key, value in conditions(one).items() if key in PAIRED}
    return line | {
        "against": other["model"],
        "against_weights": other["weights"],
        "n": both.n,
        "difference": rounded(both.difference),
        "difference_low": rounded(both.interval.low),
        "difference_high": rounded(both.interval.high),
        "only_model": both.only_first,
        "only_against": both.only_second,
        "p": both.p,
        "p_holm": None,
        "verdict": "",
        "needed": None,
        "shown": shown,
    }


def _family(group: _Group) -> tuple[object, ...]:
    """Equal for one attack in one setting, whatever its budget, step size and seed."""
    line = conditions(group.networks[0])
    return (Setting.of(group.networks[0].run), *(line[name] for name in _SAME))


def _strength(group: _Group) -> tuple[int, int]:
    """The larger of two budgets decides, then the lower seed."""
    one = group.networks[0]
    return one.iters or 0, -one.run.info.seed


def _decide(compared: Sequence[_Compared], made: int) -> None:
    """Corrects the p-values of one table for the comparisons made, and concludes."""
    holm = corrected([one.both.p for one in compared], max(made, len(compared)))
    for one, p in zip(compared, holm, strict=True):
        both, decided = one.both, p <= 1 - LEVEL
        gained = BETTER if both.difference > 0 else WORSE
        one.line.update(p_holm=p, verdict=gained if decided else UNDECIDED)
        if not decided:
            disagreement = (both.only_first + both.only_second) / both.n
            one.line["needed"] = images_needed(disagreement, POINT)


def _compared(groups: Sequence[_Group], strongest: set[_Group]) -> list[_Compared]:
    """A line for each pair that shares images."""
    pairs, counts = [], []
    for group in groups:
        for against, one in group.pairs():
            a, b = one.verdicts.beside(against.verdicts)
            if len(a):
                pairs.append((group, against, one))
                counts.append((np.count_nonzero(a & ~b), np.count_nonzero(b & ~a), len(a)))
    first, second, n = ([int(one[place]) for one in counts] for place in range(3))
    found = paired_all(first, second, n)
    return [
        _Compared(
            group, both, _line(against, one, both, group in strongest and group.leads(against, one))
        )
        for (group, against, one), both in zip(pairs, found, strict=True)
    ]


def comparisons(runs: Sequence[Run], baseline: str | None = None) -> DataFrame:
    """Every two networks under the same attack, on the images that both have; columns PAIRED.

    `difference` is `model` minus `against`, in points, with Tango's 95 % interval; `p` is
    McNemar's. Lines that are `shown` are those with the `baseline`, a model's name, or else with
    the best, at each attack's largest budget, or under all attackers together. `p_holm` is
    corrected for the comparisons of a setting at these budgets, and `verdict` follows from it;
    where it is undecided, `needed` is how many images would tell a difference of one point. With a
    baseline, or more than MANY networks, there are no other lines.
    """
    groups = list(_groups(runs, baseline))
    families: dict[tuple[object, ...], list[_Group]] = {}
    for group in groups:
        if not _partial(group):
            families.setdefault(_family(group), []).append(group)
    strongest = {max(family, key=_strength) for family in families.values()}
    found = _compared(groups, strongest)
    for setting in {Setting.of(group.networks[0].run) for group in strongest}:
        of = [one for one in strongest if Setting.of(one.networks[0].run) == setting]
        _decide([one for one in found if one.group in of], sum(group.made for group in of))
    table = DataFrame([one.line for one in found], columns=list(PAIRED))
    for column in ("iters", "needed"):
        table[column] = table[column].astype("Int64")
    table["p_holm"] = table["p_holm"].astype(float)
    keys = ["data", "norm", "eps", "targeted", "against", "model", "iters"]
    return in_order(table, keys)
