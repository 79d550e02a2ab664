"""Training curves, from the cards beside the checkpoints. Free of torch."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdbench.files import contents, parse_json
from fdbench.reporting.figures.panels import COLOURS, DASHES
from fdbench.reporting.page.charts import Chart, Point, Series
from fdbench.store import Run, Workspace

# A chart for each of these in a card's log: its key, what it shows, its axis, and its scale.
_CHARTS = (
    ("held_out_clean", "clean accuracy on held-out images", "accuracy, %", 100.0),
    ("held_out_pgd", "accuracy under PGD on held-out images", "accuracy, %", 100.0),
    ("loss", "loss on training images", "loss", 1.0),
)
_LONGEST = 200  # epochs of a curve; of more, evenly spaced ones

Log = list[Mapping[str, Any]]


@dataclass(frozen=True)
class _Training:
    """What a card says of a network's training."""

    weights: str
    data: str
    log: Log


def _training(path: Path) -> _Training | None:
    """None for a card without a log, or that can't be read."""
    try:
        card = parse_json(contents(path))
        log: Log = [dict(entry) for entry in card.get("log") or ()]
        data = str((card.get("train") or {}).get("data", ""))
        return _Training(str(card["weights"]), data, log) if log else None
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None  # `fdbench list models` says what is wrong with a card


def _trainings(workspace: Workspace, runs: Sequence[Run]) -> dict[str, dict[str, Log]]:
    """The logs of the report's networks that were trained here, by data set and name."""
    names = {run.info.model.weights: run.info.model.name for run in runs}
    found: dict[str, dict[str, Log]] = {}
    for path in workspace.cards():
        read = _training(path)
        if read and read.weights in names:
            found.setdefault(read.data, {}).setdefault(names[read.weights], read.log)
    return {data: dict(sorted(logs.items())) for data, logs in sorted(found.items())}


def _points(log: Log, key: str, scale: float) -> Iterator[Point]:
    step = max(1, len(log) // _LONGEST)
    for entry in [*log[::step], *([log[-1]] if (len(log) - 1) % step else [])]:
        value, epoch = _finite(entry.get(key)), _finite(entry.get("epoch"))
        if value is not None and epoch is not None:
            yield Point(f"{epoch:g}", scale * value)


def _finite(value: object) -> float | None:
    """A number that a chart can show; None for anything else that a card may hold."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _series(logs: Mapping[str, Log], key: str, scale: float) -> Iterator[Series]:
    for place, (model, log) in enumerate(logs.items()):
        points = tuple(_points(log, key, scale))
        if points:
            dash = place // len(COLOURS) % len(DASHES)
            yield Series(model, place % len(COLOURS), dash, points)


def training_curves(workspace: Workspace, runs: Sequence[Run]) -> list[Chart]:
    """Accuracy on held-out images and the loss against epochs, for each data set trained on.

    None where no network has a card.
    """
    charts = [
        Chart(f"{data}: {what}" if data else what, "epoch", axis, "linear",
              tuple(_series(logs, key, scale)))
        for data, logs in _trainings(workspace, runs).items()
        for key, what, axis, scale in _CHARTS
    ]  # fmt: skip
    return [one for one in charts if one.series]
