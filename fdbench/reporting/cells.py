"""Numbers as text: which columns a table shows, how they read, what a narrow terminal loses."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import pandas as pd
from pandas import DataFrame

from fdbench.reporting import blackbox
from fdbench.reporting.setting import BLACK_BOX, THREAT, WHITE_BOX, by_setting

# What a narrow terminal does to columns, in this order, until the table fits: "drop" them, show
# them "plain", without their intervals, or head them with a "number" and say below what it stands
# for.
Shorter = tuple[tuple[tuple[str, ...], str], ...]

_SETTINGS = ("n", "attack", "loss", "restarts", "alpha", "precision", "seed")
# Columns of the printed table: heading, the table's column, whether an interval goes with it.
_SHOWN = (
    ("iters", "iters", False),
    ("clean", "clean", True),
    ("robust", "robust", True),
    ("any iterate", "any_iterate", True),
    ("success", "success", True),
    ("published clean", "published_clean", False),
    ("published", "published", False),
    ("published success", "published_success", False),
    ("difference", "difference", False),
    ("note", "note", False),
)
WORDS: tuple[str, ...] = (
    "model",
    "reading",
    "weights",
    "against",
    "attack",
    "loss",
    "precision",
    "note",
)  # left-aligned
WORDS += ("run", "command", "started", "environment")
_SHORTER: Shorter = (
    (("published clean",), "drop"),
    (("published success",), "drop"),
    (("any iterate",), "plain"),
    (("success",), "plain"),
    (("clean",), "plain"),
    (("any iterate",), "drop"),
    (("alpha",), "drop"),
    (("difference",), "drop"),
    (("published",), "drop"),
    (("success",), "drop"),
)


@dataclass(frozen=True)
class Section:
    """The lines of one data set and threat as text; `same` is what all of them share.

    `weights` are the first digits of the hashes of all networks in it.
    """

    title: str
    same: str
    cells: DataFrame
    weights: tuple[str, ...] = ()
    shorter: Shorter = _SHORTER


def missing(value: object) -> bool:
    """Whether a table's cell is empty."""
    return bool(pd.isna(value) or value == "")  # type: ignore[call-overload]


def _number(value: object) -> str:
    return "-" if missing(value) else f"{value:.1f}" if isinstance(value, float) else str(value)


def _signed(value: float) -> str:
    return "-" if missing(value) else f"{value:+.1f}"


def _with_interval(lines: DataFrame, name: str) -> list[str]:
    columns = (lines[name], lines[f"{name}_low"], lines[f"{name}_high"])
    return [
        "-" if missing(v) else f"{v:.1f} [{low:.1f}, {high:.1f}]"
        for v, low, high in zip(*columns, strict=True)
    ]


def _setting(lines: DataFrame, name: str) -> list[str]:
    if name != "n":
        return [_number(value) for value in lines[name]]
    pairs = zip(lines["n"], lines["planned"], strict=True)
    return [str(n) if n == planned else f"{n}/{planned}" for n, planned in pairs]


def _measure(lines: DataFrame, name: str, interval: bool) -> list[str]:
    if interval:
        return _with_interval(lines, name)
    return [_signed(v) if name == "difference" else _number(v) for v in lines[name]]


def _section(title: str, lines: DataFrame) -> Section:
    """Columns that are the same in all lines go to `same`, empty ones go."""
    cells = DataFrame({"model": lines["model"]})
    if len(lines[["model", "weights"]].drop_duplicates()) > lines["model"].nunique():
        cells["weights"] = lines["weights"]
    same = []
    for name in _SETTINGS:
        values = _setting(lines, name)
        if len(set(values)) > 1:
            cells[name] = values
        elif values[0] != "-":
            same.append(f"{name} {values[0]}")
    for heading, name, interval in _SHOWN:
        if not all(missing(value) for value in lines[name]) or name == "robust":
            cells[heading] = _measure(lines, name, interval)
    told = cells.replace({"note": {"-": ""}})
    return Section(title, ", ".join(same), told, tuple(lines["weights"].unique()))


def sections(whitebox: DataFrame) -> list[Section]:
    """The table, cut where data or threat change."""
    return [_section(setting.title, lines) for setting, lines in by_setting(whitebox, WHITE_BOX)]


_NUMBERED = 8  # attackers whose columns a narrow terminal can hold under numbers for names


def _shorten_blackbox(attackers: Sequence[str]) -> Shorter:
    return (
        (("success",), "plain"),
        (tuple(attackers), "plain"),
        (("clean", blackbox.SPARE), "plain"),
        (tuple(attackers), "number" if len(attackers) <= _NUMBERED else "drop"),
        (("difference",), "drop"),
        ((blackbox.ALL,), "plain"),
        (("published",), "drop"),
    )


def _scores(title: str, lines: DataFrame, of_all: bool) -> Section:
    """The networks on one set, out of one denominator; clean accuracy only where it isn't 100."""
    cells = DataFrame({"model": lines["model"]})
    if lines["model"].duplicated().any():
        cells["weights"] = lines["weights"]
    counts = _setting(lines, "n") if of_all else [str(n) for n in lines["n"]]
    same = [f"n {counts[0]}"] if len(set(counts)) == 1 else []
    if not same:
        cells["n"] = counts
    same += [f"surrogates {text}" for text in lines["surrogates"].unique() if text and of_all]
    measured = [name for name in lines if f"{name}_low" in lines and lines[name].notna().any()]
    shown = [str(name) for name in measured if of_all or name != "clean"]
    for name in shown or [blackbox.ALL]:
        cells[name] = _with_interval(lines, name)
    for name in ("published", "difference", "note"):
        if not all(missing(value) for value in lines[name]):
            cells[name] = _measure(lines, name, False)
    cells = cells.replace({"note": {"-": ""}})
    attackers = [n for n in shown if n not in ("clean", "success", blackbox.ALL, blackbox.SPARE)]
    weights = tuple(lines["weights"].unique())
    return Section(title, ", ".join(same), cells, weights, _shorten_blackbox(attackers))


def blackbox_sections(table: DataFrame) -> Iterator[Section]:
    """Two for each set: of all images, and of those that are right when clean."""
    for (setting, lines), denominator in product(
        by_setting(table, BLACK_BOX), blackbox.DENOMINATORS
    ):
        of_all = denominator == blackbox.DENOMINATORS[0]
        title = f"Black box: {setting.title}" + ("" if of_all else ", of the clean-correct images")
        own = lines[lines["denominator"] == denominator]
        if of_all or own["n"].any():
            yield _scores(title, own, of_all)


def _probability(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _gains(lines: DataFrame) -> DataFrame:
    """The comparisons of one data set and threat as text."""
    names = {}
    for who, weights in (("model", "weights"), ("against", "against_weights")):
        twice = lines["model"] == lines["against"]
        named = lines[who] + "@" + lines[weights]
        names[who] = lines[who].where(~twice, named)
    ends = zip(lines["difference_low"], lines["difference_high"], strict=True)
    return DataFrame(
        {
            **names,
            "attack": [
                f"{attack} {'' if missing(iters) else iters}".strip()
                for attack, iters in zip(lines["attack"], lines["iters"], strict=True)
            ],
            "n": [str(n) for n in lines["n"]],
            "points": [_signed(value) for value in lines["difference"]],
            "interval": [f"[{low:+.1f}, {high:+.1f}]" for low, high in ends],
            "p": [_probability(p) for p in lines["p"]],
        }
    )


def comparisons(paired: DataFrame) -> Iterator[Section]:
    """The comparisons of each data set and threat, and set where there are sets."""
    for setting, lines in by_setting(paired, BLACK_BOX if "set" in paired else THREAT):
        weights = dict.fromkeys([*lines["against_weights"], *lines["weights"]])
        cells, same = _gains(lines), ""
        if lines["n"].nunique() == 1:
            same = f"n {cells.pop('n').iloc[0]}"
        yield Section(setting.title, same, cells, tuple(weights), ())


def words(heading: str) -> list[str]:
    """Where a heading may break: at its spaces and behind its hyphens."""
    return heading.replace("-", "- ").split()


def _width(cells: DataFrame) -> int:
    """Characters of the table, its headings broken; columns stand two apart."""
    widest = [max(map(len, [*words(str(name)), *cells[name]])) for name in cells]
    return sum(widest) + 2 * len(widest)


def _drop(cells: DataFrame, names: list[str]) -> tuple[DataFrame, str]:
    return cells.drop(columns=names), ""


def _plain(cells: DataFrame, names: list[str]) -> tuple[DataFrame, str]:
    return cells.assign(**{n: [text.split(" [")[0] for text in cells[n]] for n in names}), ""


def _number_columns(cells: DataFrame, names: list[str]) -> tuple[DataFrame, str]:
    numbers = {name: str(i) for i, name in enumerate(names, 1)}
    return cells.rename(columns=numbers), ", ".join(f"{i} {name}" for name, i in numbers.items())


_HOW: dict[str, Callable[[DataFrame, list[str]], tuple[DataFrame, str]]] = {
    "drop": _drop,
    "plain": _plain,
    "number": _number_columns,
}


def fit(cells: DataFrame, width: int, shorter: Shorter = _SHORTER) -> tuple[DataFrame, list[str]]:
    """The table in `width` columns, and what has to be said of it if something had to go."""
    told = []
    for names, how in shorter:
        present = [name for name in names if name in cells]
        if _width(cells) > width and present:
            cells, legend = _HOW[how](cells, present)
            told += [legend]
    return cells, [text for text in told if text] + [f"Shortened to {width} columns"] * bool(told)
