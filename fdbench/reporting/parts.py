"""Tables of numbers -> parts of text: one part per setting, with its informative columns.

A column that is constant moves to the part's `same`; an empty one is dropped. Free of torch.
"""

from collections.abc import Callable, Iterator
from itertools import product

from pandas import DataFrame

from fdbench.reporting import all_or_nothing
from fdbench.reporting.cells import (
    NONE,
    column,
    counts,
    differences,
    intervals,
    missing,
    number,
    numbers,
    probability,
    signed,
    words,
)
from fdbench.reporting.document import Cells, Column, Part
from fdbench.reporting.setting import BLACK_BOX, THREAT, WHITE_BOX, Setting, by_setting

ATTACKERS = "attackers"  # the group of a set's attackers' columns
_CONDITIONS = ("attack", "loss", "restarts", "alpha", "precision", "seed")
# Columns of a printed table: the heading, the table's column, how it is formatted.
_Shown = tuple[str, str, Callable[[DataFrame, str], list[str]]]
_ENDING: tuple[_Shown, ...] = (
    ("difference", "difference", differences),
    ("note", "note", words),
)
_WHITEBOX: tuple[_Shown, ...] = (
    ("iters", "iters", numbers),
    ("clean", "clean", intervals),
    ("robust", "robust", intervals),
    ("any iterate", "any_iterate", intervals),
    ("mean of draws", "mean_of_draws", numbers),
    ("worst of draws", "worst_of_draws", numbers),
    ("success", "success", intervals),
    ("indicators", "indicators", words),
    ("published clean", "published_clean", numbers),
    ("published", "published", numbers),
    ("published success", "published_success", numbers),
    *_ENDING,
)
_BLACKBOX: tuple[_Shown, ...] = (("published", "published", numbers), *_ENDING)


def _networks(lines: DataFrame) -> list[Column]:
    """The networks' names, with their weights if several networks have one name."""
    columns = [column("model", lines["model"])]
    if len(lines[["model", "weights"]].drop_duplicates()) > lines["model"].nunique():
        columns.append(column("weights", lines["weights"]))
    return columns


def _sort_out(columns: dict[str, list[str]]) -> tuple[list[Column], list[str]]:
    """The columns that differ from line to line, and the others as text."""
    varying = [column(name, texts) for name, texts in columns.items() if len(set(texts)) > 1]
    same = {name: texts[0] for name, texts in columns.items() if len(set(texts)) == 1}
    return varying, [f"{name} {text}" for name, text in same.items() if text != NONE]


def _shown(lines: DataFrame, table: tuple[_Shown, ...]) -> list[Column]:
    """The table's columns that are not empty; robust accuracy in any case."""
    return [
        column(heading, read(lines, name))
        for heading, name, read in table
        if name == "robust" or not all(missing(value) for value in lines[name])
    ]


def whitebox_parts(table: DataFrame) -> Iterator[Part]:
    """The white-box parts, one per data set and threat."""
    for setting, lines in by_setting(table, WHITE_BOX):
        conditions = {"n": counts(lines)} | {name: numbers(lines, name) for name in _CONDITIONS}
        varying, same = _sort_out(conditions)
        cells = Cells((*_networks(lines), *varying, *_shown(lines, _WHITEBOX)))
        weights = tuple(lines["weights"].unique())
        title, alike = setting.title, ", ".join(same)
        yield Part("whitebox", title, cells, alike, _unequal(lines), weights, setting,
                   "whitebox.csv")  # fmt: skip


def _unequal(lines: DataFrame) -> tuple[str, ...]:
    """A note for lines that are not about the same images."""
    if lines["n"].nunique() == 1:
        return ()
    return (
        f"n differs, from {lines['n'].min()} to {lines['n'].max()}: compare lines of equal n, or "
        "the pairs below, which are about the images that both have",
    )


def _measured(lines: DataFrame, of_all: bool) -> list[Column]:
    """The scores of one set, without clean accuracy on clean-correct images: it is 100."""
    names = [str(n) for n in lines if f"{n}_low" in lines and lines[n].notna().any()]
    shown = [name for name in names if of_all or name != "clean"]
    others = ("clean", "success", all_or_nothing.ALL, all_or_nothing.SPARE)
    return [
        Column(name, tuple(intervals(lines, name)), group="" if name in others else ATTACKERS)
        for name in shown or [all_or_nothing.ALL]
    ]


def _scores(title: str, setting: Setting, lines: DataFrame, of_all: bool) -> Part:
    """The networks on one set, with one denominator."""
    varying, same = _sort_out({"n": counts(lines) if of_all else numbers(lines, "n")})
    same += [f"surrogates {text}" for text in lines["surrogates"].unique() if text and of_all]
    scores = (*_measured(lines, of_all), *_shown(lines, _BLACKBOX))
    cells = Cells((*_networks(lines), *varying, *scores))
    weights = tuple(lines["weights"].unique())
    return Part("blackbox", title, cells, ", ".join(same), (), weights, setting, "blackbox.csv")


def blackbox_parts(table: DataFrame) -> Iterator[Part]:
    """Two parts per set: of all images, and of the clean-correct ones."""
    groups = by_setting(table, BLACK_BOX)
    for (setting, lines), denominator in product(groups, all_or_nothing.DENOMINATORS):
        of_all = denominator == all_or_nothing.DENOMINATORS[0]
        title = f"Black box: {setting.title}" + ("" if of_all else ", of the clean-correct images")
        counted = lines[lines["denominator"] == denominator]
        if of_all or counted["n"].any():
            yield _scores(title, setting, counted, of_all)


def _opponents(lines: DataFrame) -> list[Column]:
    """The two networks of each line, with their weights if they have the same name."""
    same_name = lines["model"] == lines["against"]
    columns = []
    for who, weights in (("model", "weights"), ("against", "against_weights")):
        named = lines[who] + "@" + lines[weights]
        columns.append(column(who, lines[who].where(~same_name, named)))
    return columns


def _gains(lines: DataFrame) -> list[Column]:
    """By how much the first network of each line is better, and what follows."""
    attacks = zip(lines["attack"], lines["iters"], strict=True)
    ends = zip(lines["difference_low"], lines["difference_high"], strict=True)
    needed = column("needed", numbers(lines, "needed"))
    return [
        column("attack", [attack if missing(i) else f"{attack} {i}" for attack, i in attacks]),
        column("n", [number(n) for n in lines["n"]]),
        column("points", [signed(value) for value in lines["difference"]]),
        column("interval", [f"[{low:+.1f}, {high:+.1f}]" for low, high in ends]),
        column("p", [probability(p) for p in lines["p_holm"]]),
        column("verdict", lines["verdict"]),
        *([needed] if set(needed.texts) != {NONE} else []),
    ]


def comparison_parts(paired: DataFrame, file: str) -> Iterator[Part]:
    """One part per data set and threat, and per set if there are sets: the lines to show."""
    for setting, every in by_setting(paired, BLACK_BOX if "set" in paired else THREAT):
        lines = every[every["shown"]]
        if lines.empty:
            continue
        cells, same = Cells((*_opponents(lines), *_gains(lines))), ""
        if lines["n"].nunique() == 1:
            cells, same = cells.without(["n"]), f"n {cells['n'][0]}"
        weights = tuple(dict.fromkeys([*lines["against_weights"], *lines["weights"]]))
        more = file and len(every) > len(lines)
        notes = (f"{len(lines)} of {len(every)} comparisons; the others are in {file}",)
        yield Part("comparison", setting.title, cells, same, notes if more else (), weights,
                   setting, file)  # fmt: skip
