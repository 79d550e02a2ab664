"""The checks that need no image: description, weights, data, and what rows say of themselves."""

import json
from collections.abc import Collection, Sequence

from fdbench.data import Dataset
from fdbench.evaluation.audit.saved import SavedRun
from fdbench.evaluation.audit.tally import Tally, plain
from fdbench.models import Model
from fdbench.randomness import ImageId
from fdbench.store import Check, Row


def description(run: SavedRun) -> Check:
    """run.json against its folder's name, which hashes all that can change a verdict."""
    info, said = run.info, json.loads((run.path / "run.json").read_text())["name"]
    planned = min(info.limit or info.data.count, info.data.count)
    faults = []
    if not said == info.name == run.path.resolve().name:
        faults.append(f"run.json describes {info.name}")
    if info.images != planned:
        faults.append(f"run.json plans {info.images} images, its data and limit make {planned}")
    return plain("description", faults, "run.json fits the folder's name")


def weights(run: SavedRun, model: Model | None) -> Check:
    """The network's hash against the run's; None is one that can't be opened."""
    wanted = run.info.model.weights
    if model is None:
        return Check("weights", "fail", f"no network to compare; the run's: sha256 {wanted[:16]}")
    same = model.weights == wanted
    said = f"sha256 {model.weights[:16]}"
    return plain("weights", [] if same else [f"{said}, the run's were {wanted[:16]}"], said)


def _named(fingerprint: str, count: int, split: str) -> str:
    return f"sha256 {fingerprint[:16]}, {count} images of {split}"


def data(run: SavedRun, found: Dataset) -> Check:
    """The data set's fingerprint against the run's."""
    wanted = run.info.data
    said = _named(found.fingerprint, len(found), found.split)
    theirs = _named(wanted.fingerprint, wanted.count, wanted.split)
    same = found.fingerprint == wanted.fingerprint and said == theirs
    return plain("data", [] if same else [f"{said}; the run's were {theirs}"], said)


def rows(run: SavedRun, planned: Collection[ImageId]) -> Check:
    """Each planned image once; what is missing at the end is only unfinished."""
    images = [row["image"] for row in run.rows]
    foreign = [image for image in images if image not in planned]
    again = len(images) - len(set(images))
    faults = [f"image {foreign[0]} is not one of those planned"] if foreign else []
    faults += [f"{again} images have two rows"] if again else []
    faults += ["something stands after the last row"] if run.torn and run.finished else []
    count = f"{len(images)} of {run.info.images} images"
    if faults or run.finished:
        return plain("rows", faults, f"{count}, each once")
    return Check("rows", "skipped", f"unfinished: {count}; to continue: {run.info.command}")


def seals(run: SavedRun) -> Check:
    """Each line is a row, as it was written, and fits the checksum it carries."""
    bare = sum("check" not in row for row in run.rows)
    tally = Tally("row checks", "rows", seen=len(run.rows) + len(run.faults))
    tally.faults += run.faults
    if run.sealed and bare:
        tally.faults.append(f"{bare} rows carry no check and others do")
    elif bare:
        tally.skipped = "these rows are older than checks"
    return tally.result()


def _fits(name: str, step: object, row: Row) -> bool:
    """Wrong at this budget needs an iterate that was; none lies beyond the budget."""
    if not (name.isdecimal() and name in row["pred"]):
        return False
    if step is None:
        return row["pred"][name] == row["label"]
    return isinstance(step, int) and 1 <= step <= int(name)


def first_wrong(rows: Sequence[Row]) -> Check:
    """The any-iterate reading agrees with the last iterate's verdict."""
    tally = Tally("first wrong", "readings")
    for row in rows:
        last = list(row["pred"])[-1]
        alone = {last: row["first_wrong"]} if "first_wrong" in row else {}
        for name, step in row.get("first_wrong_by", alone).items():
            holds = _fits(name, step, row) and (name != last or row.get("first_wrong") == step)
            tally.add(holds, f"image {row['image']}, {name} iterations: first wrong at {step}")
    tally.skipped = "" if tally.seen else "this attack has no iterates"
    return tally.result()
