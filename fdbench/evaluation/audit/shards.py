"""Checks of the adversarial images: their shards, the ball, the box, the recorded distances."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fdbench import verdict
from fdbench.errors import FdbenchError
from fdbench.evaluation.audit.tally import Tally
from fdbench.store import Row, Shard, entry, read_shard
from fdbench.threat import Threat
from fdbench.types import Images
from fdbench.verdict import ROUNDING


def why_illegal(adv: Tensor, x: Tensor, threat: Threat) -> str | None:
    """Returns why one image is not within the threat model, or None if it is."""
    try:
        verdict.check(adv[None], x[None], threat)
    except verdict.IllegalAdversary as reason:
        return reason.message.removeprefix("the attack ")
    return None


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


class ShardCheck:
    """Checks that shards are unaltered, and their images legal and at the recorded distance."""

    def __init__(self, folder: Path, threat: Threat) -> None:
        self.shards = Tally("shards", "images")
        self.ball_and_box = Tally("ball and box", "images")
        self.distances = Tally("distances", "images")
        self._folder, self._threat = folder, threat

    @property
    def tallies(self) -> tuple[Tally, ...]:
        return self.shards, self.ball_and_box, self.distances

    def read(self, name: str, rows: Sequence[Row], x: Images) -> dict[str, Images]:
        """Returns the adversarial images of these rows by reading; none if the shard is faulty."""
        try:
            shard = read_shard(entry(self._folder, name))
        except FdbenchError as reason:
            for row in rows:
                self.shards.add(False, f"image {row['image']}: {reason.message}")
            return {}
        reasons = [_why_not_of(row, shard, x) for row in rows]
        for row, why in zip(rows, reasons, strict=True):
            self.shards.add(why is None, f"image {row['image']}: {name} {why}")
        if any(reasons):
            return {}
        ids = [row["image"] for row in rows]
        return {reading: shard.images(reading, ids).to(x.device) for reading in rows[0]["pred"]}

    def look(self, reading: str, adv: Images, rows: Sequence[Row], x: Images) -> None:
        """Checks the images of one reading against the clean ones and the rows."""
        distances = self._threat.distance(adv, x).tolist()
        for i, row in enumerate(rows):
            why = why_illegal(adv[i], x[i], self._threat)
            self.ball_and_box.add(why is None, f"image {row['image']}, {reading}: {why}")
            if reading == list(row["pred"])[-1]:  # the one whose distance is recorded
                then, now = row["distance"], distances[i]
                near = abs(now - then) <= ROUNDING * max(1.0, now)
                self.distances.add(near, f"image {row['image']}: recorded {then}, now {now:.8f}")
