"""Checks of the rows alone: complete, unaltered, free of contradictions."""

from collections.abc import Collection, Sequence

from fdbench.evaluation.audit.saved_run import SavedRun
from fdbench.evaluation.audit.tally import Tally, listing
from fdbench.randomness import ImageId
from fdbench.specs import digest
from fdbench.store import Check, Row

_LISTED = 5  # missing images that a check names


def check_completeness(run: SavedRun, planned: Collection[ImageId]) -> Check:
    """Checks that each planned image has one row: removed rows look like an unfinished run.

    Two processes may have judged one image, if they agree; the report counts it once.
    """
    images = [row["image"] for row in run.rows]
    judged = set(images)
    foreign = [image for image in images if image not in planned]
    repeated = len(images) - len(judged)
    differing = len({digest(_outcome(row)) for row in run.rows}) - len(judged) if repeated else 0
    faults = [f"image {foreign[0]} is not one of those planned"] if foreign else []
    faults += [f"{differing} images have two rows that differ"] if differing else []
    faults += ["the last row is followed by other bytes"] if run.torn and run.finished else []
    count = f"{len(judged)} of {run.info.images} images"
    if faults or run.finished:
        twice = f", {repeated} of them twice, alike" if repeated else ", each once"
        return listing("rows", faults, f"{count}{twice}")
    missing = [str(image) for image in planned if image not in judged]
    listed = ", ".join(missing[:_LISTED]) + (", ..." if len(missing) > _LISTED else "")
    text = f"unfinished: {count}, without {listed}; to continue: {run.info.command}"
    return Check("rows", "fail", text)


def _outcome(row: Row) -> dict[str, object]:
    """Returns what a second judgement of the image repeats."""
    return {name: value for name, value in row.items() if name not in ("shard", "check")}


def check_integrity(run: SavedRun) -> Check:
    """Checks each line against the schema of rows and its own checksum, byte for byte."""
    bare = sum("check" not in row for row in run.rows)
    tally = Tally("row checks", "rows", seen=len(run.rows) + len(run.faults))
    tally.faults += run.faults
    if run.has_checks and bare:
        tally.faults.append(f"{bare} rows have no check, but others do")
    elif bare:
        tally.skip("these rows predate row checks")
    return tally.result()


def _step_fits(budget: str, step: int | None, row: Row) -> bool:
    """Returns whether the first wrong iterate agrees with the verdict after `budget` iterations."""
    if not (budget.isdecimal() and budget in row["pred"]):
        return False
    if step is None:
        return row["pred"][budget] == row["label"]
    return 1 <= step <= int(budget)


def check_first_wrong(rows: Sequence[Row]) -> Check:
    """Checks the any-iterate reading against the verdict on the last iterate, at every budget."""
    tally = Tally("first wrong", "readings")
    for row in rows:
        last = list(row["pred"])[-1]
        alone = {last: row["first_wrong"]} if "first_wrong" in row else {}
        for budget, step in row.get("first_wrong_by", alone).items():
            fits = _step_fits(budget, step, row)
            fits = fits and (budget != last or row.get("first_wrong") == step)
            tally.add(fits, f"image {row['image']}, {budget} iterations: first wrong at {step}")
    if not tally.seen:
        tally.skip("this attack has no iterates")
    return tally.result()
