"""Training curves, from the cards beside the checkpoints. Free of torch."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fdbench.files import contents, parse_json
from fdbench.reporting.figures.panels import COLOURS, DASHES
from fdbench.reporting.page.charts import Chart, Point, Series
from fdbench.store import Run, Workspace

# What a card's log holds for every epoch: its key, what the chart calls it, and its dash.
_ACCURACIES = (("held_out_clean", "clean", 0), ("held_out_pgd", "PGD", 1))
_LONGEST = 200  # epochs of a curve; of more, evenly spaced ones

Log = list[Mapping[str, Any]]


def _log(path: Any) -> tuple[str, Log] | None:
    """The weights of a card and its log; None for a card without one, or that can't be read."""
    try:
        card = parse_json(contents(path))
        log: Log = [dict(entry) for entry in card.get("log") or ()]
        return (str(card["weights"]), log) if log else None
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None  # `fdbench list models` says what is wrong with a card


def _logs(workspace: Workspace, runs: Sequence[Run]) -> dict[str, Log]:
    """The logs of the report's networks, by name; those trained here."""
    names = {run.info.model.weights: run.info.model.name for run in runs}
    found: dict[str, Log] = {}
    for path in workspace.cards():
        read = _log(path)
        if read and read[0] in names:
            found.setdefault(names[read[0]], read[1])
    return dict(sorted(found.items()))


def _points(log: Log, key: str, scale: float) -> Iterator[Point]:
    step = max(1, len(log) // _LONGEST)
    for entry in [*log[::step], *([log[-1]] if (len(log) - 1) % step else [])]:
        value, epoch = _finite(entry.get(key)), _finite(entry.get("epoch"))
        if value is not None and epoch is not None:
            yield Point(f"{epoch:g}", scale * value)


def _finite(value: object) -> float | None:
    """A number that a chart can show; None for anything else that a card may hold."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _series(logs: Mapping[str, Log], key: str, name: str, dash: int, scale: float) -> list[Series]:
    found = []
    for place, (model, log) in enumerate(logs.items()):
        label = f"{model}, {name}" if name else model
        turn = dash or (place // len(COLOURS) * 2) % len(DASHES)
        points = tuple(_points(log, key, scale))
        found += [Series(label, place % len(COLOURS), turn, points)] if points else []
    return found


def training_curves(workspace: Workspace, runs: Sequence[Run]) -> list[Chart]:
    """Accuracy on held-out images and the loss against epochs; none where no network has a card."""
    logs = _logs(workspace, runs)
    accuracies = [
        one for key, name, dash in _ACCURACIES for one in _series(logs, key, name, dash, 100.0)
    ]
    losses = _series(logs, "loss", "", 0, 1.0)
    charts = [
        Chart("Accuracy on held-out images", "epoch", "accuracy, %", "linear", tuple(accuracies)),
        Chart("Loss on training images", "epoch", "loss", "linear", tuple(losses)),
    ]
    return [one for one in charts if one.series]
