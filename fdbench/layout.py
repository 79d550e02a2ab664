"""Numbers as text: which columns a table shows, how they read, what a narrow terminal loses."""

from collections.abc import Iterator
from dataclasses import dataclass

from pandas import DataFrame

from fdbench import figure
from fdbench.tables import missing

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
# What a narrow terminal loses, in this order, until the table fits.
_SHORTER: tuple[tuple[str, str], ...] = (
    ("published clean", "drop"),
    ("published success", "drop"),
    ("any iterate", "plain"),
    ("success", "plain"),
    ("clean", "plain"),
    ("any iterate", "drop"),
    ("alpha", "drop"),
    ("difference", "drop"),
    ("published", "drop"),
    ("success", "drop"),
)


@dataclass(frozen=True)
class Section:
    """The lines of one data set and threat as text; `same` is what all of them share."""

    title: str
    same: str
    cells: DataFrame


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
    return Section(title, ", ".join(same), cells.replace({"note": {"-": ""}}))


def sections(whitebox: DataFrame) -> list[Section]:
    """The table, cut where data or threat change."""
    groups = whitebox.groupby(list(figure.PANEL), sort=False)
    return [_section(figure.title(key), lines) for key, lines in groups]


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


def comparisons(paired: DataFrame) -> Iterator[tuple[str, DataFrame]]:
    """Title and cells of each data set's and threat's comparisons."""
    keys = [name for name in figure.PANEL if name != "knowledge"]
    for key, lines in paired.groupby(keys, sort=False):
        data, split, norm, eps, targeted = key
        yield f"{data} {split}, {norm} {eps}, {targeted}", _gains(lines)


def _width(cells: DataFrame) -> int:
    """Characters of the table: headings break at their spaces, columns stand two apart."""
    widest = [max(map(len, [*str(name).split(), *cells[name]])) for name in cells]
    return sum(widest) + 2 * len(widest)


def fit(cells: DataFrame, width: int) -> tuple[DataFrame, bool]:
    """The table in `width` columns, and whether something had to go."""
    shortened = False
    for name, how in _SHORTER:
        if _width(cells) <= width or name not in cells:
            continue
        shortened = True
        if how == "drop":
            cells = cells.drop(columns=name)
        else:
            cells = cells.assign(**{name: [text.split(" [")[0] for text in cells[name]]})
    return cells, shortened
