"""Rows in, numbers out: every figure of every table is a pure function of rows (contract C6).

Percentages, of all the images a line is about; intervals at 95 %. Free of torch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

import pandas as pd
from pandas import DataFrame

from fdbench.randomness import ImageId
from fdbench.specs import Published, digest, model_recipe, recipe_files
from fdbench.stats import Paired, paired, wilson
from fdbench.store import Row, Run, RunInfo
from fdbench.units import parse_size, print_size

Verdicts = dict[ImageId, bool]  # was the network right on this image?

WORST = "worst case"  # an image counts only if it survives every attack of the run
SUSPICIOUS = 0.01  # p under which accuracy that rises with the budget is no longer noise
_BLACK_BOX = ("transfer",)  # attacks that never see the network they are judged on
_MEASURES = ("clean", "robust", "any_iterate", "success")
WHITEBOX = (
    *("model", "weights", "knowledge", "data", "split", "n", "planned", "norm", "eps", "targeted"),
    *("attack", "loss", "restarts", "alpha", "alpha_rule", "iters", "precision", "seed"),
    *(f"{name}{end}" for name in _MEASURES for end in ("", "_low", "_high")),
    *("published_clean", "published", "published_success", "difference", "note", "run"),
)
PAIRED = (
    *("data", "split", "norm", "eps", "targeted", "attack", "loss", "restarts", "iters"),
    *("precision", "seed", "model", "weights", "against", "against_weights", "n"),
    *("difference", "difference_low", "difference_high", "only_model", "only_against", "p"),
)


@dataclass(frozen=True)
class Result:
    """One run read at one budget: a count of iterations, an attack's name, or the worst case."""

    run: Run
    budget: str
    rows: tuple[Row, ...]

    @property
    def iters(self) -> int | None:
        return int(self.budget) if self.budget.isdigit() else None

    def right(self, row: Row) -> bool:
        """The network's last word on the image is its label."""
        wanted = row["pred"].values() if self.budget == WORST else [row["pred"][self.budget]]
        return all(pred == row["label"] for pred in wanted)

    def always_right(self, row: Row) -> bool:
        """No iterate up to the budget was misclassified, the last one included."""
        first = row.get("first_wrong_by", {}).get(self.budget, row.get("first_wrong"))
        return self.right(row) and (first is None or first > (self.iters or 0))

    def hit(self, row: Row) -> bool:
        """The network says what the attacker wanted."""
        said = row["pred"].values() if self.budget == WORST else [row["pred"][self.budget]]
        return any(pred == row["target"] for pred in said)

    @property
    def verdicts(self) -> Verdicts:
        return {row["image"]: self.right(row) for row in self.rows}


def _order(budget: str) -> tuple[int, str]:
    return (int(budget), "") if budget.isdigit() else (0, budget)


def results(run: Run) -> list[Result]:
    """The run at each of its budgets, in order; a run without rows at the budgets it asked for."""
    spec = run.info.attack
    found = {budget for row in run.rows for budget in row["pred"]}
    if not found:
        found = {str(i) for i in spec.iters} if spec.attack == "pgd" else {spec.attack}
    budgets = sorted(found, key=_order)
    rows = {b: tuple(row for row in run.rows if b in row["pred"]) for b in budgets}
    if len(budgets) > 1 and not any(b.isdigit() for b in budgets):
        rows[WORST] = tuple(row for row in run.rows if len(row["pred"]) == len(budgets))
    return [Result(run, budget, kept) for budget, kept in rows.items()]


def _percent(name: str, verdicts: Iterable[bool] | None) -> dict[str, float | None]:
    known = list(verdicts) if verdicts is not None else []
    if not known:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    low, high = wilson(sum(known), len(known))
    ends = {f"{name}_low": round(100 * low, 4), f"{name}_high": round(100 * high, 4)}
    return {name: round(100 * sum(known) / len(known), 4), **ends}


def _measured(result: Result) -> dict[str, float | None]:
    rows, spec = result.rows, result.run.info.attack
    iterates = result.iters is not None and any("first_wrong" in row for row in rows)
    return {
        **_percent("clean", (row["clean"] == row["label"] for row in rows)),
        **_percent("robust", map(result.right, rows)),
        **_percent("any_iterate", map(result.always_right, rows) if iterates else None),
        **_percent("success", map(result.hit, rows) if spec.targeted else None),
    }


def _known(run: Run) -> tuple[Published, ...]:
    """What was published for the run's model, trained as it was, on the run's test images."""
    name, train = run.info.model.name, run.info.model.train
    if name not in recipe_files("models") or run.info.data.split != "test":
        return ()
    here = run.info.data.name, "clean" if train and train["clean"] else "adversarial"
    return tuple(row for row in model_recipe(name).published if (row.data, row.trained) == here)


def _same_attack(row: Published, result: Result) -> bool:
    """The published attack is this one: plain PGD, the paper's steps, one random start."""
    spec, iters = result.run.info.attack, result.iters
    paper: dict[str, Any] = {
        "loss": "ce",
        "restarts": 1,
        "random_start": True,
        "targets": "random",
        "eot": 1,
    }
    plain = replace(spec, alpha=None, stop_early=False, **paper)
    return (
        spec.attack == row.attack == "pgd"
        and iters is not None
        and iters == row.iters
        and (row.norm, row.targeted) == (spec.norm, spec.targeted)
        and abs(parse_size(row.eps, row.norm) - spec.eps) < 1e-9
        and plain == replace(spec, alpha=None)
        and abs(plain.step(iters) - spec.step(iters)) < 1e-9
    )


def _published(result: Result, robust: float | None) -> dict[str, float | None]:
    known = _known(result.run)
    clean = next((row.accuracy for row in known if row.iters == 0), None)
    same = next((row for row in known if row.iters and _same_attack(row, result)), None)
    difference = None if same is None or robust is None else round(robust - same.accuracy, 4)
    return {
        "published_clean": clean,
        "published": same.accuracy if same else None,
        "published_success": same.success if same else None,
        "difference": difference,
    }


def _attack_of(result: Result) -> str:
    """What the line is about; a run that stops early has no last iterate, only any."""
    spec = result.run.info.attack
    if not result.iters:
        return result.budget
    return f"{spec.attack} any iterate" if spec.stop_early else spec.attack


def _precision(info: RunInfo) -> str:
    """What was asked for, and what `auto` came to."""
    chosen = info.found.get("precision", {}).get("chosen")
    return f"{info.precision} ({chosen})" if chosen else info.precision


def _conditions(result: Result) -> dict[str, Any]:
    info = result.run.info
    spec, iters = info.attack, result.iters
    return {
        "model": info.model.name,
        "weights": info.model.weights[:8],
        "knowledge": "black-box" if spec.attack in _BLACK_BOX else "white-box",
        "data": info.data.name,
        "split": info.data.split,
        "n": len(result.rows),
        "planned": info.images,
        "norm": spec.norm,
        "eps": spec.eps_text,
        "targeted": "targeted" if spec.targeted else "untargeted",
        "attack": _attack_of(result),
        "loss": spec.loss if iters else None,
        "restarts": spec.restarts,
        "alpha": print_size(spec.step(iters), spec.norm) if iters else None,
        "alpha_rule": ("auto" if spec.alpha is None else "fixed") if iters else None,
        "iters": iters,
        "precision": _precision(info),
        "seed": info.seed,
    }


def _newest(runs: Sequence[Run]) -> dict[tuple[str, str], str]:
    """The weights last started with, for each model name and data set."""
    ordered = sorted(runs, key=lambda run: run.info.started)
    return {(run.info.model.name, run.info.data.name): run.info.model.weights for run in ordered}


def _note(result: Result, newest: dict[tuple[str, str], str]) -> str:
    info = result.run.info
    planned, have = info.images, len(result.rows)
    notes = {
        "older weights": newest[info.model.name, info.data.name] != info.model.weights,
        "no rows yet": have == 0,
        "incomplete": 0 < have < planned,
    }
    return "; ".join(note for note, holds in notes.items() if holds)


def whitebox(runs: Sequence[Run]) -> DataFrame:
    """One line a (model, data, attack, budget), in the columns WHITEBOX.

    `robust` is the final iterate's accuracy, the paper's reading; `any_iterate` needs every iterate
    up to the budget to be classified right. Lines that say the same, from runs that share a budget,
    appear once.
    """
    newest = _newest(runs)
    lines: list[dict[str, Any]] = []
    for result in (result for run in runs for result in results(run)):
        line = {**_conditions(result), **_measured(result)}
        line |= _published(result, line["robust"])
        lines.append({**line, "note": _note(result, newest), "run": result.run.name})
    table = DataFrame(lines, columns=list(WHITEBOX))
    for column in ("iters", "n", "planned", "restarts", "seed"):
        table[column] = table[column].astype("Int64")
    numbers = [name for name in WHITEBOX if name.startswith((*_MEASURES, "published", "diff"))]
    table[numbers] = table[numbers].astype(float)
    keys = ["data", "split", "norm", "eps", "targeted", "model", "note", "weights", "iters"]
    unique = table.drop_duplicates([name for name in WHITEBOX if name != "run"])
    return unique.sort_values([*keys, "attack", "run"], kind="stable", ignore_index=True)


def _setting(result: Result) -> str:
    """Equal for two results if and only if they may be compared image by image."""
    info = result.run.info
    spec = {**info.attack.identity, "iters": result.budget, "alpha": None}
    if result.iters:
        spec["alpha"] = info.attack.step(result.iters)
    data = [info.data.name, info.data.split, info.data.fingerprint]
    return digest([data, spec, info.seed, info.precision, dict(info.further)])


def _contestant(result: Result) -> tuple[bool, str, str]:
    """Sorts networks without a denoiser first: they are what the others are held against."""
    model = result.run.info.model
    return ((model.spec or {}).get("denoise", "none") != "none", model.name, model.weights)


def _paired(one: Verdicts, two: Verdicts) -> Paired:
    shared = [image for image in one if image in two]
    return paired([one[image] for image in shared], [two[image] for image in shared])


def _comparison(against: Result, result: Result) -> dict[str, Any]:
    found = _paired(result.verdicts, against.verdicts)
    line = {key: value for key, value in _conditions(result).items() if key in PAIRED}
    return line | {
        "against": against.run.info.model.name,
        "against_weights": against.run.info.model.weights[:8],
        "n": found.n,
        "difference": round(100 * found.difference, 4),
        "difference_low": round(100 * found.interval.low, 4),
        "difference_high": round(100 * found.interval.high, 4),
        "only_model": found.only_first,
        "only_against": found.only_second,
        "p": found.p,
    }


def comparisons(runs: Sequence[Run]) -> DataFrame:
    """Each two networks under the same attack, on the images both were judged on; columns PAIRED.

    `difference` is `model` less `against`, in points; `p` is McNemar's, not corrected for how many
    comparisons there are.
    """
    groups: dict[str, dict[tuple[bool, str, str], Result]] = {}
    for result in (result for run in runs for result in results(run)):
        group, who = groups.setdefault(_setting(result), {}), _contestant(result)
        if who not in group or len(result.rows) > len(group[who].rows):
            group[who] = result
    lines = [
        _comparison(group[first], group[second])
        for group in groups.values()
        for first, second in combinations(sorted(group), 2)
    ]
    table = DataFrame([line for line in lines if line["n"]], columns=list(PAIRED))
    table["iters"] = table["iters"].astype("Int64")
    keys = ["data", "norm", "eps", "targeted", "against", "model", "iters"]
    return table.sort_values(keys, kind="stable", ignore_index=True)


def _gain(after: Verdicts, before: Verdicts) -> float | None:
    """How many points more are right after than before, if that is more than noise."""
    found = _paired(after, before)
    return 100 * found.difference if found.difference > 0 and found.p < SUSPICIOUS else None


def smells(run: Run) -> list[str]:
    """What makes a run's numbers hard to believe."""
    texts = []
    found = results(run)
    for one, two in pairwise(result for result in found if result.iters):
        if gain := _gain(two.verdicts, one.verdicts):
            texts.append(
                f"robust accuracy rises by {gain:.1f} points from {one.budget} to {two.budget} "
                "iterations: the attack is not converging; try another --alpha or --loss"
            )
    clean = {row["image"]: row["clean"] == row["label"] for row in run.rows}
    for result in found:
        if gain := _gain(result.verdicts, clean):
            texts.append(
                f"robust accuracy ({result.budget}) is {gain:.1f} points above clean accuracy: "
                "the attack helps the network; is its gradient right?"
            )
    return texts


def warnings(runs: Sequence[Run]) -> list[str]:
    """Each warning of the runs and each smell once, with the models it is about."""
    about: dict[str, list[str]] = {}
    for run in runs:
        for text in [*run.info.warnings, *smells(run)]:
            about.setdefault(text, []).append(run.info.model.name)
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in about.items()]


def missing(value: Any) -> bool:
    """Whether a table's cell is empty."""
    return bool(pd.isna(value) or value == "")
