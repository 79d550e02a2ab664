"""Check of labels and targets against the data set, the seed, the network and the file."""

from collections.abc import Sequence

import torch
from torch import nn

from fdbench.attacks import draw_targets, given
from fdbench.errors import BadValue
from fdbench.evaluation.audit.saved_run import SavedRun
from fdbench.evaluation.audit.tally import Tally
from fdbench.models import RELATIVE
from fdbench.store import Row, read_targets, targets_digest
from fdbench.types import Batch, Labels
from fdbench.verdict import deciding


class LabelCheck:
    """Checks that labels are the data set's, and targets those that the run's attack chooses."""

    def __init__(self, run: SavedRun) -> None:
        self.tally = Tally("labels", "images")
        self._info = run.info
        attack = run.info.attack
        self._kind = attack.targets if attack.targeted and attack.parameters.sees_network else ""
        self._wanted = read_targets(run.paths) if self._kind == "file" else None
        if self._kind == "file" and self._wanted is None and run.info.key:
            self.tally.add(False, "targets.json, which holds the targets from a file, was deleted")
        elif self._kind == "file" and self._wanted is None:
            self.tally.notes = " (the file of targets was not kept: they are not checked)"
        elif self._wanted is not None and (
            targets_digest(self._wanted) != run.info.further.get("targets")
        ):
            self.tally.add(False, "targets.json does not hold the targets that the run began with")

    def look(self, net: nn.Module | None, rows: Sequence[Row], batch: Batch) -> None:
        """Checks one batch; without a network, only targets from a file can be known."""
        targets = [row.get("target") for row in rows]
        right = self._right(net, batch, targets)
        for row, label, target, fits in zip(
            rows, batch.label.tolist(), targets, right, strict=True
        ):
            if self._kind:
                fits = fits and target is not None and target != label
            fits = fits and row["label"] == label
            self.tally.add(fits, f"image {row['image']}: label {row['label']}, target {target}")

    def _right(
        self, net: nn.Module | None, batch: Batch, targets: Sequence[int | None]
    ) -> list[bool]:
        """Returns which targets are those that the attack chooses; True where that is unknown."""
        if self._kind == "file" and self._wanted is not None:
            try:
                wanted = given(self._wanted, batch.ids, batch.label, self._info.data.classes)
            except BadValue:
                return [False] * len(targets)
            return [one == other for one, other in zip(targets, wanted.tolist(), strict=True)]
        if net is None or None in targets or self._kind not in ("random", "least-likely"):
            return [True] * len(targets)
        recorded = torch.tensor([target or 0 for target in targets], device=batch.label.device)
        if self._kind == "least-likely":
            return _least_likely(net, batch, recorded)
        classes = net(batch.x[:1]).shape[1]
        drawn = draw_targets(batch, classes, self._info.seed)
        return [bool(same) for same in recorded == drawn]


def _least_likely(net: nn.Module, batch: Batch, recorded: Labels) -> list[bool]:
    """Returns which classes have the lowest logit but the label's, up to rounding of a tie."""
    logits = net(batch.x)
    known = (recorded >= 0) & (recorded < logits.shape[1])
    others = logits.scatter(1, batch.label[:, None], torch.inf)
    logit = others.gather(1, torch.where(known, recorded, 0)[:, None])[:, 0]
    low = others.amin(1)
    near = logit - low <= RELATIVE * torch.maximum(deciding(logits), low.abs())
    return [bool(one) for one in known & near]
