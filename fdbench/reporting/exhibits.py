"""The paper's exhibits, from whatever networks were judged: measured beside published.

Fig. 6 (white-box curves), Fig. 7 (filters), Table 1 (design of the block), Table 2 (black box) and
Table 3 (trained on clean images) of Xie et al. 2019 compare networks of one architecture that
differ in their denoising blocks. An exhibit stands in a report where two such variants were judged
under one setting. Every number is one of the chapters' tables. Free of torch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from pandas import DataFrame

from fdbench.reporting import all_or_nothing
from fdbench.reporting.attack_columns import is_plain_pgd
from fdbench.reporting.cells import NONE, column, missing, number, signed
from fdbench.reporting.document import Cells, Part
from fdbench.reporting.scoring import scored
from fdbench.reporting.setting import BLACK_BOX, THREAT, Setting, by_setting
from fdbench.specs import BOTTLENECK, NO_DENOISER, ModelSpec
from fdbench.store import ModelInfo, Run

_ACCURACY = scored(["accuracy"])
COLUMNS = (
    *("exhibit", *BLACK_BOX, "arch", "variant", "model", "weights", "iters", "n"),
    *(*_ACCURACY, "published", "difference", "run"),
)
READING = (
    "The exhibits of Xie et al. 2019, with the networks of this report: accuracy in percent, 95 % "
    "Wilson intervals in the CSV and where they fit. Published numbers are ImageNet's, shown only "
    "beside measurements under the same conditions."
)
# The order of Fig. 7 and Table 2: no block, blocks that denoise nothing, then the filters.
_FILTERS = (NO_DENOISER, BOTTLENECK, "null", "mean", "median", "bilateral-dot",
            "bilateral-gauss", "nonlocal-dot", "nonlocal-gauss")  # fmt: skip
_BEST = "nonlocal-gauss"  # the paper's main model, which Fig. 6 compares with the baseline
Models = Mapping[str, ModelInfo]  # by their run's name


@dataclass(frozen=True)
class Exhibit:
    """Which networks an exhibit of the paper compares."""

    name: str
    title: str
    has: Callable[[ModelSpec], bool]
    needs: Callable[[str], bool] = lambda _: True  # one of its variants, or it is not shown
    clean: bool = False  # its networks were trained on clean images
    black: bool = False


def _main(spec: ModelSpec) -> bool:
    return spec.denoise in (NO_DENOISER, _BEST) and spec.block == "full"


def _filter(spec: ModelSpec) -> bool:
    return spec.block == "full" and spec.denoise_at == "stages"


def _design(spec: ModelSpec) -> bool:
    return spec.denoise in (NO_DENOISER, _BEST) and spec.denoise_at == "stages"


EXHIBITS = (
    Exhibit("fig6", "Fig. 6, white-box curves", _main),
    Exhibit("fig7", "Fig. 7, filters", _filter, lambda one: one not in ("baseline", _BEST)),
    Exhibit("table1", "Table 1, design of the block", _design, lambda one: "no-" in one),
    Exhibit("table2", "Table 2, black box, all or nothing", lambda _: True, black=True),
    Exhibit("table3", "Table 3, trained on clean images", lambda _: True, clean=True),
)


def _variant(spec: ModelSpec) -> str:
    """`nonlocal-gauss, all, no-1x1`: what sets a network apart from the baseline."""
    parts = ["baseline" if spec.denoise == NO_DENOISER else spec.denoise]
    parts += [part for part in (spec.denoise_at, spec.block) if part not in ("stages", "full")]
    return ", ".join(parts)


def _order(spec: ModelSpec) -> int:
    return _FILTERS.index(spec.denoise) if spec.denoise in _FILTERS else len(_FILTERS)


def _described(table: DataFrame, exhibit: Exhibit, models: Models) -> DataFrame:
    """The lines of the exhibit's networks, each with its architecture and variant."""
    specs = {
        run: ModelSpec.of(dict(model.spec), run)
        for run, model in models.items()
        if model.spec and bool(dict(model.train or {}).get("clean")) == exhibit.clean
    }
    mine = {run: spec for run, spec in specs.items() if exhibit.has(spec)}
    lines = table[table["run"].isin(list(mine))]
    found = [mine[run] for run in lines["run"]]
    return lines.assign(
        exhibit=exhibit.name,
        arch=[spec.arch + (f" w{spec.width}" if spec.width else "") for spec in found],
        variant=[_variant(spec) for spec in found],
        place=[_order(spec) for spec in found],
    )


def _compares(lines: DataFrame, exhibit: Exhibit) -> DataFrame:
    """The lines of architectures with two variants or more in one setting."""
    if lines.empty:
        return lines
    groups = lines.assign(needed=lines["variant"].map(exhibit.needs)).groupby([*BLACK_BOX, "arch"])
    shown = (groups["variant"].transform("nunique") > 1) & groups["needed"].transform("any")
    ordered = lines[shown].sort_values(
        ["arch", "place", "variant", "model", "iters"], kind="stable"
    )
    return ordered.drop_duplicates([*BLACK_BOX, "model", "weights", "iters"])


def _measured(table: DataFrame, name: str, published: str) -> DataFrame:
    """A table's lines, with one of its scores as the accuracy."""
    scores = dict(zip(_ACCURACY, (table[one] for one in scored([name])), strict=True))
    lines = table.assign(**scores, published=table[published])
    return lines.assign(difference=lines["accuracy"] - lines["published"])


def _white(table: DataFrame, runs: Sequence[Run]) -> DataFrame:
    """Plain PGD, as the paper runs it, at each budget."""
    specs = {run.name: run.info.attack for run in runs}
    plain = [
        bool(n) and not missing(iters) and is_plain_pgd(specs[run], int(iters))
        for run, iters, n in zip(table["run"], table["iters"], table["n"], strict=True)
    ]
    return _measured(table[plain], "robust", "published").assign(set="", digest="")


def _black(table: DataFrame) -> DataFrame:
    every = table[(table["denominator"] == all_or_nothing.DENOMINATORS[0]) & (table["n"] > 0)]
    return _measured(every, all_or_nothing.ALL, "published").assign(iters=None)


def _clean(table: DataFrame) -> DataFrame:
    """Each network's clean images: its line with the most of them; the threat does not matter."""
    lines = _measured(table[table["n"] > 0], "clean", "published_clean")
    lines = lines.sort_values("n", ascending=False, kind="stable")
    lines = lines.drop_duplicates(["data", "split", "model", "weights"])
    nothing = dict.fromkeys(("norm", "eps", "targeted", "set", "digest"), "")
    return lines.assign(**nothing, iters=0)


def exhibits(runs: Sequence[Run], tables: Mapping[str, DataFrame]) -> DataFrame:
    """All exhibits that these runs can show, in the columns COLUMNS.

    Args:
        tables: those of the chapters, by name: `whitebox` and `blackbox`, if there are such runs.
    """
    models = {run.name: run.info.model for run in runs}
    white, black = tables.get("whitebox"), tables.get("blackbox")
    parts = []
    for exhibit in EXHIBITS:
        table = black if exhibit.black else white
        if table is None:
            continue
        lines = _black(table) if exhibit.black else _white(table, runs)
        lines = _clean(table) if exhibit.clean else lines
        parts.append(_compares(_described(lines, exhibit, models), exhibit))
    found = [part for part in parts if not part.empty]
    if not found:
        return DataFrame(columns=list(COLUMNS))
    whole = pd.concat([part.reindex(columns=list(COLUMNS)) for part in found], ignore_index=True)
    whole["iters"] = whole["iters"].astype("Int64")
    scores = [*_ACCURACY, "published", "difference"]
    whole[scores] = whole[scores].astype(float).round(4)
    return whole


def _at(lines: DataFrame, iters: int, name: str, shown: Callable[[float], str]) -> str:
    there = lines[lines["iters"].fillna(0) == iters]
    return NONE if there.empty else shown(float(there.iloc[0][name]))


def _between(lines: DataFrame, iters: int) -> str:
    there = lines[lines["iters"].fillna(0) == iters]
    if there.empty:
        return NONE
    low, high = (float(there.iloc[0][f"accuracy_{end}"]) for end in ("low", "high"))
    return f"{low:.1f}-{high:.1f}"


def _rows(name: str, group: DataFrame, budgets: Sequence[int]) -> list[tuple[str, ...]]:
    """A network's readings: measured, its interval, published and the difference if there are."""
    readings = {
        "measured": [_at(group, i, "accuracy", number) for i in budgets],
        "95 %": [_between(group, i) for i in budgets],
        "published": [_at(group, i, "published", number) for i in budgets],
        "difference": [_at(group, i, "difference", signed) for i in budgets],
    }
    return [(name, key, *texts) for key, texts in readings.items() if set(texts) != {NONE}]


def _heading(budget: int, exhibit: Exhibit) -> str:
    return f"{budget} it" if budget else "clean" if exhibit.clean else "accuracy"


def _cells(lines: DataFrame, exhibit: Exhibit) -> Cells:
    budgets = sorted({int(i) for i in lines["iters"].fillna(0)})
    networks = lines.drop_duplicates(["model", "weights"])["variant"].to_list()
    rows: list[tuple[str, ...]] = []
    for (variant, model, weights), group in lines.groupby(
        ["variant", "model", "weights"], sort=False
    ):
        several = f" ({model}@{weights})" if networks.count(variant) > 1 else ""
        rows += _rows(f"{variant}{several}", group, budgets)
    headings = ["variant", "reading", *(_heading(budget, exhibit) for budget in budgets)]
    return Cells(tuple(map(column, headings, zip(*rows, strict=True))))


def _title(exhibit: Exhibit, arch: str, setting: Setting) -> str:
    threat = f"{setting.data} {setting.split}" if exhibit.clean else setting.title
    return f"{exhibit.title}: {arch}, {threat}"


def exhibit_parts(table: DataFrame) -> Iterator[Part]:
    """One part for each exhibit, setting and architecture."""
    for exhibit in EXHIBITS:
        mine = table[table["exhibit"] == exhibit.name]
        for setting, every in by_setting(mine, BLACK_BOX if exhibit.black else THREAT):
            for arch, lines in every.groupby("arch", sort=False):
                n = sorted(set(lines["n"].astype(int)))
                same = f"n {n[0]}" if len(n) == 1 else f"n {n[0]} to {n[-1]}"
                title, cells = _title(exhibit, str(arch), setting), _cells(lines, exhibit)
                weights = tuple(lines["weights"].unique())
                yield Part("paper", title, cells, same, (), weights, file="paper.csv")
