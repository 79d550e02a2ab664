"""Black-box scores: networks against stored adversarial images that were made without them.

All or nothing (CAAD 2018; Xie et al. 2019, Sec. 6.2): an image counts only if the network is right
under every attacker. What it says of the clean image decides nothing, unless the clean image is
itself one of the set's attackers. Every number is a pure function of rows. Free of torch.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import comb
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool
from pandas import DataFrame

from fdbench.reporting import whitebox
from fdbench.specs import Published, attacker_battery, model_recipe, recipe_files
from fdbench.stats import wilson
from fdbench.store import Row, Run
from fdbench.units import parse_size

ATTACK = "transfer"
ALL = "all-or-nothing"
SPARED = 2  # attackers the paper's Table 2 leaves out for its 13.4 %: the two strongest
SPARE = f"all but {SPARED}"
DENOMINATORS = ("all images", "clean-correct")
SETTING = ("data", "split", "norm", "eps", "targeted", "set", "digest")
_WHO = (*SETTING, "model", "weights", "denominator", "n", "planned")
_END = ("published", "difference", "surrogates", "note", "run")
_CURVES = ("strongest", "mean", "weakest")
CURVE = (
    *(*_WHO, "attackers", "added"),
    *(f"{name}{end}" for name in _CURVES for end in ("", "_low", "_high")),
)
PAIRED = ("set", "digest", *whitebox.PAIRED)
# The competition's files (NIPS 2017 toolkit): of targeted attacks or not, and what they count.
_MATRICES = (
    ("accuracy_on_attacks.csv", False, "label"),
    ("accuracy_on_targeted_attacks.csv", True, "label"),
    ("hit_target_class.csv", True, "target"),
)

Survival = Bool[np.ndarray, "images attackers"]
Images = Bool[np.ndarray, " images"]


def of(runs: Iterable[Run]) -> list[Run]:
    """Those of the runs that are black-box."""
    return [run for run in runs if run.info.attack.attack == ATTACK]


def any_k(survived: Survival, k: int) -> float:
    """Mean all-or-nothing accuracy over all choices of `k` of the attackers.

    An image that survives s of m attackers survives C(s, k) of the C(m, k) choices: the sum is
    exact, and no choice is enumerated. NaN without images.
    """
    count, m = survived.shape
    if not count:
        return float("nan")
    good = sum(comb(int(s), k) for s in survived.sum(1))
    return good / (count * comb(m, k))


@dataclass(frozen=True)
class Victim:
    """One network on one set: its images, and under which attackers it is right on each."""

    run: Run
    attackers: tuple[str, ...]  # in the order of the set
    rows: tuple[Row, ...]  # those judged under all attackers

    @cached_property
    def survived(self) -> Survival:
        says = [[row["pred"][name] == row["label"] for name in self.attackers] for row in self.rows]
        return np.array(says, bool).reshape(len(self.rows), len(self.attackers))

    @cached_property
    def clean(self) -> Images:
        """Where it is right on the clean image."""
        return np.array([row["clean"] == row["label"] for row in self.rows], bool)

    @cached_property
    def by_strength(self) -> list[int]:
        """Places of the attackers, the one that leaves this network least right first.

        Of all images; equals stay in the order of the set.
        """
        return [int(i) for i in np.argsort(self.survived.sum(0), kind="stable")]

    def survives(self, places: Sequence[int]) -> Images:
        """The images on which the network is right under all of the attackers at `places`."""
        return np.all(self.survived[:, list(places)], axis=1)

    def counted(self, denominator: str) -> Images:
        return self.clean if denominator == DENOMINATORS[1] else np.ones_like(self.clean)


def victim(run: Run) -> Victim:
    """A black-box run, read. Without rows it has no survivors, but its attackers."""
    told = run.info.further.get("attackers") or next((list(r["pred"]) for r in run.rows), [])
    rows = tuple(row for row in run.rows if all(name in row["pred"] for name in told))
    return Victim(run, tuple(told), rows)


def _percent(name: str, verdicts: Images) -> dict[str, float | None]:
    n, right = len(verdicts), int(verdicts.sum())
    if not n:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    low, high = wilson(right, n)
    values = {name: right / n, f"{name}_low": low, f"{name}_high": high}
    return {key: round(100 * value, 4) for key, value in values.items()}


def setting(run: Run) -> dict[str, str]:
    """On what images, under what threat and from what set: equal for runs of one table."""
    spec, data = run.info.attack, run.info.data
    return {
        "data": data.name,
        "split": data.split,
        "norm": spec.norm,
        "eps": spec.eps_text,
        "targeted": "targeted" if spec.targeted else "untargeted",
        "set": str(spec.options.get("set", "")),
        "digest": str(spec.options.get("digest", ""))[:8],
    }


def _who(one: Victim, denominator: str) -> dict[str, Any]:
    return {
        **setting(one.run),
        "model": one.run.info.model.name,
        "weights": one.run.info.model.weights[:8],
        "denominator": denominator,
        "n": int(one.counted(denominator).sum()),
        "planned": one.run.info.images,
    }


def _same_attack(row: Published, one: Victim) -> bool:
    """The published attack is of this threat, by a battery whose attackers are those of the set."""
    spec = one.run.info.attack
    if row.attack not in recipe_files("attacks") or row.iters is not None:
        return False
    battery = attacker_battery(row.attack)
    return (
        {attacker.name for attacker in battery.attackers} == set(one.attackers)
        and (row.norm, row.targeted) == (spec.norm, spec.targeted)
        and abs(parse_size(row.eps, row.norm) - spec.eps) < 1e-9
    )


def _published(one: Victim) -> float | None:
    """All-or-nothing accuracy on all images, where all that can agree does."""
    info = one.run.info
    if info.model.name not in recipe_files("models") or info.data.split != "test":
        return None
    trained = "clean" if info.model.train and info.model.train["clean"] else "adversarial"
    for row in model_recipe(info.model.name).published:
        if (row.data, row.trained) == (info.data.name, trained) and _same_attack(row, one):
            return row.accuracy
    return None


def _ending(one: Victim, denominator: str, score: float | None) -> dict[str, Any]:
    published = _published(one) if denominator == DENOMINATORS[0] else None
    known = published is not None and score is not None
    have, planned = len(one.rows), one.run.info.images
    sources = one.run.info.further.get("surrogates", ())
    notes = {"no rows yet": have == 0, "incomplete": 0 < have < planned}
    return {
        "published": published,
        "difference": round(score - published, 4) if known else None,  # type: ignore[operator]
        "surrogates": ", ".join(str(source["name"]) for source in sources),
        "note": "".join(note for note, holds in notes.items() if holds),
        "run": one.run.name,
    }


def column(attacker: str) -> str:
    """The attacker's column; a name that the table needs for itself gets a mark."""
    taken = {*_WHO, *_END, ALL, SPARE, "clean", "success"}
    return f"{attacker} (attacker)" if attacker in taken else attacker


def _line(one: Victim, denominator: str) -> dict[str, Any]:
    counted = one.counted(denominator)
    everyone, m = one.by_strength, len(one.attackers)
    scores = _percent("clean", one.clean[counted])
    for place, attacker in enumerate(one.attackers):
        scores |= _percent(column(attacker), one.survived[counted, place])
    scores |= _percent(ALL, one.survives(everyone)[counted])
    if m > SPARED:
        scores |= _percent(SPARE, one.survives(everyone[SPARED:])[counted])
    if one.run.info.attack.targeted:
        hit = np.array([row["target"] in row["pred"].values() for row in one.rows], bool)
        scores |= _percent("success", hit[counted])
    return {**_who(one, denominator), **scores, **_ending(one, denominator, scores[ALL])}


def victims(runs: Sequence[Run]) -> list[Victim]:
    """Each network on each set once, its fullest run; networks without a denoiser first."""
    known: dict[tuple[str, ...], Victim] = {}
    for run in of(runs):
        one, model = victim(run), run.info.model
        key = (*setting(run).values(), model.name, model.weights)
        if key not in known or len(one.rows) > len(known[key].rows):
            known[key] = one

    def order(one: Victim) -> tuple[tuple[str, ...], bool, str, str]:
        model = one.run.info.model
        denoises = (model.spec or {}).get("denoise", "none") != "none"
        return (*setting(one.run).values(),), denoises, model.name, model.weights

    return sorted(known.values(), key=order)


def blackbox(runs: Sequence[Run]) -> DataFrame:
    """Table 2's form: two lines a network and set, one for each of DENOMINATORS.

    Columns: the clean images, each attacker, all of them (ALL), all but the SPARED strongest
    against this network, and for targeted sets `success`, any attacker's hit; each with the ends of
    its 95 % interval. A set's attackers are empty in another's lines.
    """
    found = victims(runs)
    lines = [_line(one, denominator) for denominator in DENOMINATORS for one in found]
    attackers = dict.fromkeys(column(name) for one in found for name in one.attackers)
    targeted = ["success"] if any(one.run.info.attack.targeted for one in found) else []
    measured = ["clean", *attackers, ALL, SPARE, *targeted]
    ends = [f"{name}{end}" for name in measured for end in ("", "_low", "_high")]
    table = DataFrame(lines, columns=[*_WHO, *ends, *_END])
    numbers = [*ends, "published", "difference"]
    table[numbers] = table[numbers].astype(float)
    return table


def _at(one: Victim, denominator: str, k: int) -> dict[str, Any]:
    """All-or-nothing accuracy under `k` attackers, chosen in three ways."""
    counted, order = one.counted(denominator), one.by_strength
    n = int(counted.sum())
    mean = any_k(one.survived[counted], k) if n else 0.0
    # A mean of numbers in [0, 1] varies no more than a proportion: its interval is wide enough.
    low, high = wilson(round(mean * n), n)
    ends = {"mean": mean, "mean_low": low, "mean_high": high} if n else {}
    return {
        **_who(one, denominator),
        "attackers": k,
        "added": one.attackers[order[k - 1]],
        **_percent("strongest", one.survives(order[:k])[counted]),
        **{key: round(100 * value, 4) for key, value in ends.items()},
        **_percent("weakest", one.survives(order[len(order) - k :])[counted]),
    }


def curve(runs: Sequence[Run]) -> DataFrame:
    """All-or-nothing accuracy against the number of attackers, in the columns CURVE.

    `strongest`: the k strongest against the network, of which `added` is the k-th; `mean`: over all
    choices of k; `weakest`: the k weakest, so all but the strongest m - k.
    """
    lines = [
        _at(one, denominator, k)
        for one in victims(runs)
        for denominator in DENOMINATORS
        for k in range(1, len(one.attackers) + 1)
    ]
    table = DataFrame(lines, columns=list(CURVE))
    numbers = [name for name in CURVE if name.startswith(_CURVES)]
    table[numbers] = table[numbers].astype(float)
    return table


def paired(runs: Sequence[Run]) -> DataFrame:
    """Each two networks on the same set, under each attacker and under all: columns PAIRED."""
    parts = []
    for key, ones in groupby(victims(runs), key=lambda one: setting(one.run)):
        lines = whitebox.comparisons([one.run for one in ones])
        lines["attack"] = lines["attack"].replace(whitebox.WORST, ALL)
        lines.insert(0, "digest", key["digest"])
        lines.insert(0, "set", key["set"])
        parts += [] if lines.empty else [lines]
    return pd.concat(parts, ignore_index=True) if parts else DataFrame(columns=list(PAIRED))


def _matrix(ones: Sequence[Victim], counts: str) -> str:
    """Rows attacks, columns defenses, cells counts, an empty corner: as the toolkit wrote it."""
    names = [one.run.info.model.name for one in ones]
    heads = [
        name if names.count(name) == 1 else f"{name}@{one.run.info.model.weights[:8]}"
        for name, one in zip(names, ones, strict=True)
    ]
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["", *heads])
    for attacker in ones[0].attackers:
        hits = [sum(row["pred"][attacker] == row[counts] for row in one.rows) for one in ones]
        out.writerow([attacker, *hits])
    return text.getvalue()


def matrices(runs: Sequence[Run]) -> dict[str, str]:
    """The competition's files, by name, in a folder a set: `blackbox/SET-DIGEST/...`.

    Counts are comparable on the same images only: networks judged on fewer than others are left
    out.
    """
    files = {}
    for key, group in groupby(victims(runs), key=lambda one: setting(one.run)):
        ones = list(group)
        most = max(len(one.rows) for one in ones)
        full = [one for one in ones if len(one.rows) == most]
        folder = f"blackbox/{key['set'] or ATTACK}-{key['digest']}"
        for name, targeted, counts in _MATRICES:
            if most and targeted == (key["targeted"] == "targeted"):
                files[f"{folder}/{name}"] = _matrix(full, counts)
    return files
