"""Where a run's adversarial images are: in shards of its own, or in the set that it replayed."""

from collections.abc import Sequence
from pathlib import Path

import torch

from fdbench.errors import FdbenchError
from fdbench.evaluation.audit.saved_run import SavedRun
from fdbench.evaluation.audit.tally import Tally
from fdbench.files import entry
from fdbench.specs import TransferParameters
from fdbench.store import AdvSet, Row, Shard, Workspace, read_shard
from fdbench.types import Images


def _why_not_of(row: Row, shard: Shard, x: Images) -> str | None:
    """Returns why a shard can't be the one that was written for a row, or None if it can."""
    if shard.ids.count(row["image"]) != 1:
        return "its shard does not hold it exactly once"
    if set(shard.tensors) != set(row["pred"]):
        return f"its shard holds {', '.join(sorted(shard.tensors))}"
    for tensor in shard.tensors.values():
        if tensor.dtype != torch.float32 or tensor.shape != (len(shard.ids), *x.shape[1:]):
            return f"its shard holds {tensor.dtype} {tuple(tensor.shape)}"
    return None


class Kept:
    """The shards in the run's folder, each unaltered and the one that its rows were written for."""

    def __init__(self, folder: Path, kept_images: bool) -> None:
        self.tally = Tally("shards", "images")
        self._folder, self._kept_images = folder, kept_images

    def read(self, shard: str | None, rows: Sequence[Row], x: Images) -> dict[str, Images]:
        """Returns the images of these rows by reading; none if the shard is faulty."""
        if shard is None:
            for row in rows if self._kept_images else ():
                self.tally.add(False, f"image {row['image']} names no shard")
            return {}
        try:
            stored = read_shard(entry(self._folder, shard))
        except FdbenchError as reason:
            for row in rows:
                self.tally.add(False, f"image {row['image']}: {reason.message}")
            return {}
        reasons = [_why_not_of(row, stored, x) for row in rows]
        for row, why in zip(rows, reasons, strict=True):
            self.tally.add(why is None, f"image {row['image']}: {shard} {why}")
        if any(reasons):
            return {}
        ids = [row["image"] for row in rows]
        return {reading: stored.images(reading, ids).to(x.device) for reading in rows[0]["pred"]}


class Replayed:
    """The set that a transfer run judged: the same one still, whole, with the rows' targets."""

    def __init__(self, workspace: Workspace, parameters: TransferParameters) -> None:
        self.tally = Tally("set", "images")
        self._set: AdvSet | None = None
        try:
            self._set = AdvSet.open(workspace, str(parameters.set))
        except FdbenchError as reason:
            self.tally.add(False, reason.message)
            return
        if self._set.info.digest != parameters.digest:
            self.tally.add(False, f"set {self._set.name} was remade with other settings")
            self._set = None

    def read(self, shard: str | None, rows: Sequence[Row], x: Images) -> dict[str, Images]:
        """Returns the images of these rows by attacker; none if the set can't be read."""
        stored, ids = self._set, [row["image"] for row in rows]
        if stored is None:
            return {}
        try:
            stored.check_complete(ids)
            images = {name: stored.images(name, ids).to(x.device) for name in stored.attackers}
        except FdbenchError as reason:
            self.tally.add(False, f"image {ids[0]} or one of its batch: {reason.message}")
            return {}
        for row in rows:
            why = _why_not_from(row, stored)
            self.tally.add(not why, f"image {row['image']}: {why}")
        return {name: adv for name, adv in images.items() if adv.shape == x.shape}


def _why_not_from(row: Row, stored: AdvSet) -> str:
    """Returns why a row can't come from a set that has its image; empty if it can."""
    image, names = row["image"], stored.attackers
    if tuple(row["pred"]) != names:
        return f"it has predictions of {', '.join(row['pred'])}; the set's are {', '.join(names)}"
    idle = [name for name in names if image in stored.unattacked[name]]
    if row.get("unattacked", []) != idle:
        return f"unattacked by {row.get('unattacked', [])}; by the set, {idle}"
    target = int(stored.targets([image])[0]) if stored.spec.targeted else None
    if row.get("target") != target:
        return f"its target is {row.get('target')}; the set's, {target}"
    return ""


def source_of(run: SavedRun) -> Kept | Replayed:
    """Returns the set of a transfer run, or the shards of any other."""
    parameters = run.info.attack.parameters
    if isinstance(parameters, TransferParameters):
        return Replayed(Workspace(run.path.resolve().parent.parent), parameters)
    return Kept(run.paths.images, run.kept_images)
