"""Runs as a table of rows, and the report over them. Free of torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pandas import DataFrame

from fdbench.errors import FdbenchError
from fdbench.randomness import ImageId
from fdbench.reporting import Report, Selection, implausible, result_records, write_report
from fdbench.store import Run, read_infos, read_rows, read_run


def read_runs(results: Path | str = "results") -> DataFrame:
    """Reads every row of every run with its run's settings: one line per image and reading.

    Args:
        results: the results folder.

    Returns:
        Columns run, model, weights, data, split, attack, norm, eps (image units), targeted, seed,
        precision, reading (an iteration budget, or an attack's or attacker's name), image, label,
        target, clean (the prediction on the clean image), pred, right (pred is the label), and
        distance (in the norm, image units). Empty if there are no runs.

    Raises:
        FdbenchError: if the folder can't be read. A malformed run is named and left out.

    Example:
        >>> rows = fdbench.read_runs("results")
        >>> robust = rows.groupby(["model", "reading"])["right"].mean()
    """
    lines = []
    for folder, info in read_infos(Path(results)).items():
        spec = info.attack
        setting = {
            "run": folder.name,
            "model": info.model.name,
            "weights": info.model.weights[:8],
            "data": info.data.name,
            "split": info.data.split,
            "attack": spec.attack,
            "norm": spec.norm,
            "eps": spec.eps,
            "targeted": spec.targeted,
            "seed": info.seed,
            "precision": info.precision,
        }
        for row in read_rows(folder, info.key):
            image = {key: row.get(key) for key in ("image", "label", "target", "clean", "distance")}
            for reading, pred in row["pred"].items():
                verdict = {"reading": reading, "pred": pred, "right": pred == row["label"]}
                lines.append({**setting, **image, **verdict})
    return DataFrame(lines, columns=list(_COLUMNS))


_COLUMNS = (
    *("run", "model", "weights", "data", "split", "attack", "norm", "eps", "targeted", "seed"),
    *("precision", "reading", "image", "label", "target", "clean", "pred", "right", "distance"),
)


def report(
    results: Path | str = "results",
    fmt: str | None = None,
    *,
    runs: Sequence[str | Path] = (),
    models: Sequence[str] = (),
    data: Sequence[str] = (),
    attacks: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    latest: bool = False,
    unfinished: bool = False,
    baseline: str | None = None,
    select: Sequence[str] = (),
    claims: Sequence[str | Path] = (),
    paper: bool = False,
) -> Report:
    """Writes the tables and figures of runs into `results`.

    Args:
        results: the results folder.
        fmt: also print the report, as "table", "md", "csv", "latex", "html" or "json"; None: print
            nothing.
        runs: names or folders of the runs to report; empty: all.
        models: only runs of these models.
        data: only runs on these data sets.
        attacks: only runs of these attacks.
        labels: what the report calls models, by their own names.
        latest: of each model's name, only the weights that were attacked last.
        unfinished: also runs that lack images.
        baseline: compare each model with this one, by its name in the report; None: with the best
            of each table.
        select: only runs that fit "KEY=PATTERN": model, data, attack, norm or eps, as in
            "eps=8/255" or "model=r20*".
        claims: RobustBench's JSON files, or folders of them, to hold beside what was measured.
        paper: figures in the sizes of two-column papers.

    Returns:
        The report: `tables` holds its numbers as DataFrames, by the name of their CSV, and
        `chapters` its text.

    Raises:
        BadValue: if no run has such a name, model, data set or attack, or fits `select`.
        FdbenchError: if there is no run, or `results` can't be written.

    Example:
        >>> run = fdbench.evaluate(net, "fashion-mini", iters=(2,), limit=8)
        >>> table = fdbench.report("results").tables["whitebox"]
        >>> list(table.columns[:2])
        ['model', 'weights']
    """
    wanted = Selection(
        tuple(map(str, runs)), tuple(models), tuple(data), tuple(attacks), labels or {}, latest,
        unfinished, baseline, tuple(select), tuple(map(Path, claims)),
    )  # fmt: skip
    return write_report(Path(results), fmt, wanted, clean_images, paper)


def clean_images(run: Run, ids: Sequence[ImageId]) -> UInt8[np.ndarray, "n 3 H W"] | None:
    """The clean images of a run, in whole pixels; None unless its very data can be opened here."""
    from fdbench.data import open_data  # torch starts here: only for runs that kept their images

    data = run.info.data
    try:
        images = open_data(data.name, data.split, px=None)
    except FdbenchError:
        return None
    if images.fingerprint != data.fingerprint:
        return None
    place = {image: i for i, image in enumerate(images.ids)}
    x = images.fetch([place[image] for image in ids]).x
    return (255 * x).round().byte().numpy()


def results_of(folder: Path) -> list[dict[str, Any]]:
    """A record for each budget or attacker of a run: scores in percent with 95 % intervals."""
    return result_records(read_run(folder))


def objections(folder: Path) -> list[str]:
    """What the sanity gate says of a run."""
    return implausible(read_run(folder))
