"""RobustBench's JSON of a model: what a report writes for its leaderboard, and reads as claims.

One file a model and threat, `model_info/DATA/NORM/NAME.json` in that project: percentages as text
with two digits, eps as tables print it, `autoattack_acc` of AutoAttack's standard version. Fields
that only its authors know stay empty. Free of torch.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pandas import DataFrame

from fdbench.errors import FdbenchError
from fdbench.files import contents, parse_json, safe
from fdbench.reporting.attack_columns import same_size
from fdbench.reporting.cells import column, number, numbers, signed, words
from fdbench.reporting.document import Cells, Part
from fdbench.reporting.setting import Setting, by_setting, size_in
from fdbench.units import parse_size

FOLDERS = {"linf": "Linf", "l2": "L2"}  # that project's names of the norms it has
_SCORES = ("clean_acc", "autoattack_acc", "reported")
CLAIMS = (
    *("model", "data", "split", "norm", "eps", "targeted", "claim", "n"),
    *("claimed", "measured", "measured_low", "measured_high", "difference", "verdict", "file"),
)
READING = (
    "claimed: by a RobustBench file; measured: clean, AutoAttack's standard version, and the best "
    "known (against what its authors reported). below or above: the claim lies outside the 95 % "
    "Wilson interval of what was measured, on n images."
)


def _autoattack(whitebox: DataFrame, line: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The network's line of AutoAttack's standard version under the same threat."""
    if whitebox.empty:
        return None
    keys = ("model", "weights", "data", "split", "norm", "eps", "targeted")
    same = (whitebox["attack"] == "autoattack") & (whitebox["n"] > 0)
    for key in keys:
        same &= whitebox[key] == line[key]
    found = whitebox[same].to_dict("records")
    return {str(k): v for k, v in found[0].items()} if found else None


def _percentage(value: float) -> str:
    return f"{value:.2f}"


def entries(headline: DataFrame, whitebox: DataFrame) -> Iterator[tuple[str, str]]:
    """The path and the content of each network's file, untargeted linf and l2 threats only."""
    known = headline[headline["norm"].isin(list(FOLDERS)) & (headline["targeted"] == "untargeted")]
    for line in known.to_dict("records"):
        measured = _autoattack(whitebox, {str(k): v for k, v in line.items()})
        attacked = {} if measured is None else {"autoattack_acc": _percentage(measured["robust"])}
        entry = {
            "link": "", "name": str(line["model"]), "authors": "", "additional_data": None,
            "number_forward_passes": 1, "dataset": str(line["data"]), "venue": "",
            "architecture": "", "eps": str(line["eps"]), "clean_acc": _percentage(line["clean"]),
            "reported": _percentage(line["worst_case"]), **attacked, "unreliable": None,
            "footnote": f"{line['n']} images of {line['split']}; reported: the worst case over "
            f"{line['attacks']}, by fdbench",
        }  # fmt: skip
        size = safe(str(line["eps"])).replace("/", "-")
        folder = f"{safe(str(line['data']))}/{FOLDERS[str(line['norm'])]}"
        name = f"{safe(str(line['model']))}-{line['weights']}-{size}"
        yield f"{folder}/{name}.json", json.dumps(entry, indent=2) + "\n"


def _score(entry: Mapping[str, Any], name: str, path: Path) -> float | None:
    """A percentage of an entry, which that project writes as text; None if it has none."""
    text = entry.get(name)
    if text in (None, ""):
        return None
    try:
        value = float(str(text))
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise FdbenchError(f"{path}: {name} is no percentage: {text!r}.")
    return value


def read_entry(path: Path) -> dict[str, Any]:
    """A RobustBench file: its model (the file's name), norm (its folder's), eps and scores.

    Raises FdbenchError, naming the file, for one that is not of that form.
    """
    try:
        entry = parse_json(contents(path))
    except (OSError, ValueError) as reason:
        raise FdbenchError(f"{path} is not a RobustBench file: {reason}") from reason
    if not isinstance(entry, dict) or "clean_acc" not in entry or "eps" not in entry:
        raise FdbenchError(f"{path} is not a RobustBench file: it has no clean_acc and no eps.")
    norms = {folder: norm for norm, folder in FOLDERS.items()}
    norm = norms.get(path.resolve().parent.name, "linf")
    scores = {name: _score(entry, name, path) for name in _SCORES}
    eps = parse_size(str(entry["eps"]), norm)
    return {"model": path.stem, "name": str(entry.get("name", "")), "norm": norm, "eps": eps,
            **scores, "file": path.name}  # fmt: skip


def entries_in(places: Sequence[Path]) -> list[dict[str, Any]]:
    """The entries of files and of folders of files. Raises FdbenchError for a place without one."""
    found = []
    for place in places:
        files = sorted(place.rglob("*.json")) if place.is_dir() else [place]
        if not files:
            raise FdbenchError(f"{place} has no RobustBench file (NAME.json).")
        found += [read_entry(path) for path in files]
    return found


def _claims(entry: Mapping[str, Any], line: Mapping[str, Any], whitebox: DataFrame) -> list[Any]:
    """The claims of an entry about one network, beside what was measured."""
    attacked = _autoattack(whitebox, line)
    sources = (
        ("clean_acc", line, "clean"), ("autoattack_acc", attacked, "robust"),
        ("reported", line, "worst_case"),
    )  # fmt: skip
    lines = []
    for name, source, score in sources:
        if entry[name] is None or source is None:
            continue
        low, value, high = (source[f"{score}{end}"] for end in ("_low", "", "_high"))
        claimed = entry[name]
        verdict = "below" if claimed < low else "above" if claimed > high else "within"
        lines.append(
            {**{key: line[key] for key in CLAIMS[:6]}, "claim": name, "n": source["n"],
             "claimed": claimed, "measured": value, "measured_low": low, "measured_high": high,
             "difference": round(value - claimed, 4), "verdict": verdict, "file": entry["file"]}
        )  # fmt: skip
    return lines


def claims(
    claimed: Sequence[Mapping[str, Any]], headline: DataFrame, whitebox: DataFrame
) -> DataFrame:
    """Each claim beside the measurement of the network of its name and threat; columns CLAIMS."""
    lines = []
    for line in headline.to_dict("records"):
        mine = {str(key): value for key, value in line.items()}
        for entry in claimed:
            called = mine["model"] in (entry["model"], entry["name"])
            same = mine["norm"] == entry["norm"] and same_size(size_in(mine["eps"]), entry["eps"])
            if called and same and mine["targeted"] == "untargeted":
                lines += _claims(entry, mine, whitebox)
    return DataFrame(lines, columns=list(CLAIMS))


def claim_parts(table: DataFrame) -> Iterator[Part]:
    """One part for each data set and threat."""
    for setting, lines in by_setting(table, ("data", "split", "norm", "eps", "targeted")):
        ends = zip(lines["measured_low"], lines["measured_high"], strict=True)
        cells = Cells(
            (
                column("model", lines["model"]),
                column("claim", lines["claim"]),
                column("n", numbers(lines, "n")),
                column("claimed", [_percentage(value) for value in lines["claimed"]]),
                column("measured", [number(float(value)) for value in lines["measured"]]),
                column("interval", [f"[{low:.1f}, {high:.1f}]" for low, high in ends]),
                column("difference", [signed(value) for value in lines["difference"]]),
                column("verdict", words(lines, "verdict")),
            )
        )
        yield Part("paper", f"Claims: {setting.title}", cells, setting=Setting(**vars(setting)),
                   file="claims.csv")  # fmt: skip
