"""A finished run, checked again from what it left: rows, images, weights and data.

Nothing the run says is believed: its description must fit its name, each row its own checksum, each
shard of images its name, each image the ball, and each verdict is computed anew. What no checksum
covers are run.json's times, environment and warnings.
"""

from collections.abc import Callable

import torch

from fdbench.data import Dataset
from fdbench.evaluation.audit import papers
from fdbench.evaluation.audit.images import Examiner, chunks
from fdbench.evaluation.audit.saved import SavedRun, find_run, read_run
from fdbench.models import Model
from fdbench.store import Check

__all__ = ["SavedRun", "audit", "find_run", "read_run"]


def audit(
    run: SavedRun,
    model: Model | None,
    data: Dataset,
    device: torch.device,
    *,
    batch_size: int | None = None,
    tick: Callable[[int], object] = lambda images: None,
) -> list[Check]:
    """Every check of a run, in the order they are shown; as far as an unfinished one goes.

    Where the weights are not the run's, the network is not asked; where the data are not, no image
    is looked at. Verdicts are those of float32; one that differs within rounding of a tie passes.

    Args:
        run: from read_run.
        model: None if its weights can't be opened, which fails the check of the weights.
        data: the data set that the run names.
        batch_size: images at a time; None: as they were attacked.
        tick: told of every so many images done.
    """
    place = {image: i for i, image in enumerate(data.ids[: run.info.images])}
    on_paper = [papers.description(run), papers.weights(run, model), papers.data(run, data)]
    known_weights, known_data = (check.verdict == "pass" for check in on_paper[1:])
    net = model.net.to(device) if model and known_weights and known_data else None
    examiner = Examiner(run, net, device)
    if not known_weights:
        examiner.drop_verdicts("these are not the run's weights")
    if known_data:
        todo = list(chunks([row for row in run.rows if row["image"] in place], batch_size))
        positions = [[place[row["image"]] for row in rows] for _, rows in todo]
        for (shard, rows), batch in zip(todo, data.stream(positions), strict=True):
            examiner.look(shard, rows, batch)
            tick(len(rows))
    else:
        examiner.drop("these are not the run's data")
    told = [papers.rows(run, place), papers.seals(run), papers.first_wrong(run.rows)]
    return [*on_paper, *told, *examiner.results()]
