"""The authors' table, "error / attack success" of each network: measured and published.

Targeted PGD at linf 16/255 on 1000 classes, in the authors' steps (Xie et al. 2019, Sec. 6.1;
released model table). Every number is one of whitebox.whitebox. Free of torch.
"""

from collections.abc import Iterator, Sequence

import pandas as pd
from pandas import DataFrame

from fdbench.reporting import whitebox
from fdbench.reporting.attack_columns import AUTHORS, authors_step, follows_authors
from fdbench.reporting.cells import NONE, column, missing
from fdbench.reporting.document import Cells, Part
from fdbench.reporting.scoring import scored
from fdbench.reporting.setting import Setting
from fdbench.store import Run

BUDGETS = (10, 100, 1000, 2000)  # and 0, the clean image
CLASSES = 1000
_NUMBERS = (
    *scored(("error", "success")),
    *("published_error", "published_success", "difference_error", "difference_success"),
)
COLUMNS = (
    *("data", "split", "model", "weights", "iters", "n", "planned", "precision", "seed"),
    *(*_NUMBERS, "note", "run"),
)
READING = (
    "Cells: error / attack success, percent; intervals at 95 % (Wilson). Attackers compare "
    "success, defenders accuracy (100 - error). Targets and random starts move both by about 0.3 "
    "(released code)."
)
_NETWORK = ["data", "split", "model", "weights"]
Scores = dict[str, float]  # of a network at one budget, by column


def _follows(run: Run) -> bool:
    """Whether the run follows the authors' protocol, except for its step sizes."""
    return run.info.data.classes == CLASSES and follows_authors(run.info.attack)


def _compared(lines: DataFrame, measured: str, published: str) -> DataFrame:
    """Errors and their intervals, published errors and the difference, from accuracies."""
    error, published_error = 100 - lines[measured], 100 - lines[published]
    return lines.assign(
        error=error,
        error_low=100 - lines[f"{measured}_high"],
        error_high=100 - lines[f"{measured}_low"],
        published_error=published_error,
        difference_error=error - published_error,
    )


def _attacked(lines: DataFrame) -> DataFrame:
    """Each network at each budget."""
    scores = _compared(lines.drop_duplicates([*_NETWORK, "iters"]), "robust", "published")
    return scores.assign(difference_success=scores["success"] - scores["published_success"])


def _clean(lines: DataFrame) -> DataFrame:
    """Each network on the clean images: budget 0, where no attack can have success."""
    scores = _compared(lines.drop_duplicates(_NETWORK), "clean", "published_clean")
    attacked = [*scored(["success"]), "published_success", "difference_success"]
    return scores.assign(iters=0, **dict.fromkeys(attacked, float("nan")))


def table(runs: Sequence[Run]) -> DataFrame:
    """One line per network and budget, 0 for the clean images, in the columns COLUMNS.

    Only runs under the authors' protocol count. Of several at one budget, the one with the most
    images is taken, then the one with the lowest seed.
    """
    lines = whitebox.whitebox([run for run in runs if _follows(run)])
    steps = {n: authors_step(n) for n in BUDGETS}
    lines = lines[lines["alpha"] == lines["iters"].map(steps)]
    lines = lines[lines["n"] > 0].sort_values(["n", "seed"], ascending=[False, True], kind="stable")
    scores = pd.concat([_clean(lines)[[*COLUMNS]], _attacked(lines)[[*COLUMNS]]])
    numbers = list(_NUMBERS)
    scores[numbers] = scores[numbers].astype(float).round(4)
    return scores.sort_values([*_NETWORK, "iters"], kind="stable", ignore_index=True)


def _pair(scores: Scores | None, error: str, success: str, sign: str = "") -> str:
    """`54.5 / 26.6`; only the first without an attack, NONE without either."""
    values = [scores[key] for key in (error, success)] if scores else []
    return " / ".join(f"{value:{sign}.1f}" for value in values if not missing(value)) or NONE


def _interval(scores: Scores | None, name: str) -> str:
    if scores is None or missing(scores[name]):
        return NONE
    return f"{scores[f'{name}_low']:.1f}-{scores[f'{name}_high']:.1f}"


def _readings(lines: DataFrame, budgets: Sequence[int]) -> dict[str, list[str]]:
    """A network's readings, one text per budget; readings missing at all budgets are left out."""
    pairs = zip(lines["iters"], lines[[*_NUMBERS, "n"]].to_dict("records"), strict=True)
    scores = {int(iters): {str(k): float(v) for k, v in line.items()} for iters, line in pairs}
    at = [scores.get(budget) for budget in budgets]
    readings = {
        "measured": [_pair(one, "error", "success") for one in at],
        "error 95 %": [_interval(one, "error") for one in at],
        "succ. 95 %": [_interval(one, "success") for one in at],
        "published": [_pair(one, "published_error", "published_success") for one in at],
        "difference": [_pair(one, "difference_error", "difference_success", "+") for one in at],
        "images": [f"{one['n']:.0f}" if one else NONE for one in at],
    }
    return {name: texts for name, texts in readings.items() if set(texts) != {NONE}}


def _cells(lines: DataFrame, budgets: Sequence[int], count_images: bool) -> Cells:
    """A block of lines per network: one line per reading, one column per budget."""
    shared_names = len(lines[_NETWORK].drop_duplicates()) > lines["model"].nunique()
    rows: list[tuple[str, ...]] = []
    for (model, weights), group in lines.groupby(["model", "weights"], sort=False):
        name = f"{model}@{weights}" if shared_names else str(model)
        readings = _readings(group, budgets).items()
        rows += [(name, key, *texts) for key, texts in readings if count_images or key != "images"]
    headings = ["model", "reading", *(f"{b} it" if b else "clean" for b in budgets)]
    return Cells(tuple(map(column, headings, zip(*rows, strict=True))))


def parts(scores: DataFrame) -> Iterator[Part]:
    """The table as text, one part per data set; n is shown once if it is the same everywhere."""
    for (data, split), lines in scores.groupby(["data", "split"], sort=False):
        budgets = sorted(map(int, lines["iters"].unique()))
        counts = lines["n"].unique()
        yield Part(
            "authors",
            f"Zoo: {data} {split}, targeted PGD, linf 16/255, {CLASSES} classes",
            _cells(lines, budgets, count_images=len(counts) > 1),
            same=f"n {counts[0]}" if len(counts) == 1 else "",
            notes=(READING,),
            weights=tuple(lines["weights"].unique()),
            setting=Setting(str(data), str(split), AUTHORS.norm, AUTHORS.eps_text, "targeted"),
            file="zoo.csv",
        )
