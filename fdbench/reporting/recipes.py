"""Several trainings of one recipe: their mean, its spread over trainings and over images.

Two networks share a recipe if they differ in the seed of their training only; their checkpoints'
cards say so. A difference between two networks of one training each may be the seed's: only this
table can tell recipes apart. Free of torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd
from pandas import DataFrame

from fdbench.reporting.cells import NONE, column, numbers, probability, signed
from fdbench.reporting.comparing import BETTER, POINT, UNDECIDED, WORSE, same_conditions
from fdbench.reporting.document import Cells, Column, Part
from fdbench.reporting.outcomes import RunAtBudget, Verdicts, at_budgets, places_of
from fdbench.reporting.scoring import Line, conditions, fullest, rounded
from fdbench.reporting.setting import BLACK_BOX, Setting, by_setting, in_order
from fdbench.reporting.trained import recipe_name
from fdbench.specs import ModelSpec, digest
from fdbench.stats import LEVEL, Gap, Interval, corrected, gap, seeds_needed, spread
from fdbench.store import ModelInfo, Run

_INTERVALS = ("images_low", "images_high", "seeds_low", "seeds_high")
_GAPS = ("difference", "difference_images_low", "difference_images_high",
         "difference_seeds_low", "difference_seeds_high", "p", "p_holm")  # fmt: skip
RECIPES = (
    *(*BLACK_BOX, "attack", "loss", "restarts", "iters", "precision", "seed"),
    *("recipe", "trainings", "n", "mean", *_INTERVALS, "deviation", "needed"),
    *("against", *_GAPS, "verdict", "models"),
)
READING = (
    "mean: the mean accuracy of several trainings of one recipe, which differ in their seed only, "
    "in percent. over images: how it would change on other images, the trainings being these; over "
    "trainings: how it would change with other seeds, the images being these [95 %]; deviation: of "
    "one training, in points. p: Welch's t-test over trainings, corrected for the comparisons of "
    "the table (Holm). needed: the trainings of each recipe that would tell a difference of "
    "one point in 80 % of experiments."
)


@dataclass(frozen=True)
class _Recipe:
    """One recipe under one attack: its networks on the images that all networks there have."""

    name: str
    read: tuple[RunAtBudget, ...]
    rights: np.ndarray


def recipe_of(model: ModelInfo) -> str:
    """A digest of everything about a training but its seed; empty for a network from elsewhere."""
    if model.spec is None or model.train is None:
        return ""
    train = {name: value for name, value in model.train.items() if name != "seed"}
    return digest({"spec": dict(model.spec), "train": train})


def _name(model: ModelInfo) -> str:
    """The network's name by its architecture, whatever a training was called, and the recipe's."""
    name, recipe = ModelSpec.of(dict(model.spec or {}), model.name).name, recipe_name(model)
    return f"{name}, {recipe}" if recipe else name


def _aligned(several: Sequence[Verdicts]) -> np.ndarray:
    """Where each is right, one line each, on the images that all have."""
    ids = reduce(
        lambda known, one: known[places_of(known, one.ids[one.judged]) >= 0],
        several[1:],
        several[0].ids[several[0].judged],
    )
    return np.stack([one.right[places_of(ids, one.ids)] for one in several])


def _recipes(group: Sequence[RunAtBudget]) -> list[_Recipe]:
    """The recipes of which several trainings were judged under one attack, most trainings first."""
    kept = fullest(group, lambda one: one.run.info.model.weights, lambda one: one.n)
    by_recipe: dict[str, list[RunAtBudget]] = {}
    for one in kept.values():
        if one.n and (key := recipe_of(one.run.info.model)):
            by_recipe.setdefault(key, []).append(one)
    several = {key: ones for key, ones in by_recipe.items() if len(ones) > 1}
    every = [one.verdicts for ones in several.values() for one in ones]
    rights = _aligned(every) if every else np.zeros((0, 0), bool)
    names = [_name(ones[0].run.info.model) for ones in several.values()]
    found, start = [], 0
    for name, (key, ones) in zip(names, several.items(), strict=True):
        shown = name if names.count(name) == 1 else f"{name} ({key[:4]})"
        found.append(_Recipe(shown, tuple(ones), rights[start : start + len(ones)]))
        start += len(ones)
    return sorted(found, key=lambda one: one.name)


def _ends(name: str, interval: Interval | None) -> Line:
    if interval is None:
        return {f"{name}_low": None, f"{name}_high": None}
    return {f"{name}_low": rounded(interval.low), f"{name}_high": rounded(interval.high)}


def _line(one: _Recipe) -> Line:
    first, found = one.read[0], spread(one.rights)
    known = conditions(first) | Setting.of(first.run).columns(BLACK_BOX)
    deviation = found.deviation or 0.0
    return {key: known[key] for key in RECIPES if key in known} | {
        "recipe": one.name,
        "trainings": found.seeds,
        "n": one.rights.shape[1],
        "mean": rounded(found.mean),
        **_ends("images", found.over_images),
        **_ends("seeds", found.over_seeds),
        "deviation": rounded(deviation),
        "needed": seeds_needed(deviation, POINT),
        "models": ", ".join(sorted(read.run.info.model.name for read in one.read)),
    }


def _gain(against: _Recipe, found: Gap) -> Line:
    return {
        "against": against.name,
        "difference": rounded(found.difference),
        **_ends("difference_images", found.over_images),
        **_ends("difference_seeds", found.over_seeds),
        "p": found.p,
    }


def _compared(recipes: Sequence[_Recipe], baseline: str | None) -> list[Line]:
    """The recipes under one attack, each beside the baseline or else the best of them."""
    if not recipes:
        return []
    best = max(recipes, key=lambda one: float(one.rights.mean()))
    first = next((one for one in recipes if one.name == baseline), best)
    lines = [_line(one) for one in recipes]
    tested = []
    for line, one in zip(lines, recipes, strict=True):
        if one is not first:
            found = gap(one.rights, first.rights)
            line |= _gain(first, found)
            tested += [] if found.p is None else [(line, found)]
    every = len(recipes) * (len(recipes) - 1) // 2  # from which the best was chosen
    made = len(tested) if first.name == baseline else max(every, len(tested))
    holm = corrected([found.p or 0.0 for _, found in tested], made)
    for (line, found), p in zip(tested, holm, strict=True):
        gained = BETTER if found.difference > 0 else WORSE
        line |= {"p_holm": p, "verdict": gained if p <= 1 - LEVEL else UNDECIDED}
    return lines


def recipes(runs: Sequence[Run], baseline: str | None = None) -> DataFrame:
    """Each recipe with several trainings, under each attack and budget; columns RECIPES.

    Networks of one attack are compared on the images that all of them have.
    """
    alike: dict[str, list[RunAtBudget]] = {}
    for one in (one for run in runs for one in at_budgets(run)):
        alike.setdefault(same_conditions(one), []).append(one)
    lines = [line for group in alike.values() for line in _compared(_recipes(group), baseline)]
    table = DataFrame(lines, columns=list(RECIPES))
    table["iters"] = table["iters"].astype("Int64")
    scores = ["mean", *_INTERVALS, "deviation", *_GAPS]
    table[scores] = table[scores].astype(float)
    return in_order(table, ["data", "norm", "eps", "targeted", "attack", "iters", "recipe"])


def _between(lines: DataFrame, name: str) -> list[str]:
    ends = zip(lines[f"{name}_low"], lines[f"{name}_high"], strict=True)
    return [NONE if pd.isna(low) else f"[{low:.1f}, {high:.1f}]" for low, high in ends]


def _columns(lines: DataFrame) -> tuple[Column, ...]:
    attacks = zip(lines["attack"], lines["iters"], strict=True)
    return (
        column("recipe", lines["recipe"]),
        column("attack", [f"{name} {'' if pd.isna(i) else i}".strip() for name, i in attacks]),
        column("trainings", numbers(lines, "trainings")),
        column("mean", numbers(lines, "mean")),
        column("over images", _between(lines, "images")),
        column("over trainings", _between(lines, "seeds")),
        column("deviation", numbers(lines, "deviation")),
        column("gain", [signed(value) for value in lines["difference"]]),
        column("p", [NONE if pd.isna(p) else probability(p) for p in lines["p_holm"]]),
        column("verdict", lines["verdict"].astype(object).fillna("")),
        column("needed", numbers(lines, "needed")),
    )


def recipe_parts(table: DataFrame) -> Iterator[Part]:
    """One part for each data set and threat; each attack at its largest budget."""
    for setting, every in by_setting(table, BLACK_BOX):
        largest = every["iters"].fillna(0)
        same = every.groupby(["attack", "loss", "restarts", "precision"], dropna=False)["iters"]
        lines = every[largest == same.transform("max").fillna(0)]
        lines = lines[lines["seed"] == lines["seed"].min()]
        cells = Cells(_columns(lines))
        notes = tuple(
            f"gain: over {name}, on the same images" for name in lines["against"].dropna().unique()
        )
        yield Part("recipes", f"Recipes: {setting.title}", cells, f"n {lines['n'].min()}", notes,
                   (), setting, "recipes.csv")  # fmt: skip
