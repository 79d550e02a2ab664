"""The audit of a run: checks it again from its rows, its images, the weights and the data.

Nothing in the run is trusted. Its description must match its name and its own checksum, each row
a checksum over the run and the row, each shard of images its name; each image must be in the ball,
and each verdict is recomputed.

What can't be detected: checksums are no signatures, so whoever computes them again can change what
nothing else determines: times, environment, warnings and command in run.json, the distance and the
verdicts of a run that kept no images (a transfer run's are in its set), or the whole run in place
of another. Runs of formats 1 to 3 have weaker checksums, or none.
"""

from collections.abc import Callable

import torch
from torch import nn

from fdbench.data import Dataset
from fdbench.evaluation import behaviour
from fdbench.evaluation.audit import identity, rows
from fdbench.evaluation.audit.image_checks import ImageChecks, batches
from fdbench.evaluation.audit.saved_run import SavedRun, find_run, read_run
from fdbench.evaluation.audit.tally import listing
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
    """Runs every check on a run, in the order shown; an unfinished run as far as it goes.

    If the weights are not the run's, the network is not queried; if the data are not, no image is
    checked. Verdicts are those of float32; one that differs within rounding of a tie passes.

    Args:
        run: from read_run.
        model: None if its weights can't be opened, which fails the check of the weights.
        data: the data set that the run names.
        batch_size: images at a time; None: as they were attacked.
        tick: called with the number of images after each batch.
    """
    position = {image: i for i, image in enumerate(data.ids[: run.info.images])}
    of_weights, of_data = identity.check_weights(run, model), identity.check_data(run, data)
    same_weights, same_data = of_weights.verdict == "pass", of_data.verdict == "pass"
    net = model.net.to(device) if model and same_weights and same_data else None
    images = ImageChecks(run, net, device)
    if not same_weights:
        images.skip_verdicts("these are not the run's weights")
    if same_data:
        planned = [row for row in run.rows if row["image"] in position]
        todo = list(batches(planned, batch_size))
        positions = [[position[row["image"]] for row in part] for _, part in todo]
        for (shard, part), batch in zip(todo, data.stream(positions), strict=True):
            images.look(shard, part, batch)
            tick(len(part))
    else:
        images.skip("these are not the run's data")
    return [
        identity.check_description(run),
        of_weights,
        of_data,
        _check_behaviour(run, net, data, device),
        rows.check_completeness(run, position),
        rows.check_integrity(run),
        rows.check_first_wrong(run.rows),
        *images.results(),
    ]


def _check_behaviour(
    run: SavedRun, net: nn.Module | None, data: Dataset, device: torch.device
) -> Check:
    """Checks that the network answers as it did when the run began."""
    path, sealed = run.paths.behaviour, run.info.found.get("behaviour")
    if sealed and not (path.is_file() and behaviour.seal(path) == sealed):
        return Check("behaviour", "fail", f"{path.name} was deleted, or is not what was written")
    then = behaviour.kept(path)
    if then is None:
        return Check("behaviour", "skipped", "this run predates records of behaviour")
    if net is None:
        return Check("behaviour", "skipped", "these are not the run's weights and data")
    why, by_chance = behaviour.changed(net, data, run.info.images, device, then)
    if by_chance:
        return Check("behaviour", "skipped", "the network draws random numbers")
    good = "the network answers as when this run began"
    return listing("behaviour", [why] if why else [], good)
