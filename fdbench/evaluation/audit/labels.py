"""Check of labels and targets against the data set and the seed."""

from collections.abc import Sequence

from torch import nn

from fdbench.attacks import draw_targets
from fdbench.evaluation.audit.tally import Tally
from fdbench.store import Row, RunInfo
from fdbench.types import Batch


class LabelCheck:
    """Checks that labels are the data set's, and random targets those the seed draws."""

    def __init__(self, info: RunInfo) -> None:
        self.tally = Tally("labels", "images")
        self._info = info
        attack = info.attack
        self._has_targets = attack.targeted and attack.parameters.sees_network

    def look(self, net: nn.Module | None, rows: Sequence[Row], batch: Batch) -> None:
        """Checks one batch; without a network, the number of classes to draw from is unknown."""
        drawn = self._draw(net, batch)
        for i, (row, label) in enumerate(zip(rows, batch.label.tolist(), strict=True)):
            target = row.get("target")
            fits = row["label"] == label and (not drawn or target == drawn[i])
            if self._has_targets:
                fits = fits and target is not None and target != label
            self.tally.add(fits, f"image {row['image']}: label {row['label']}, target {target}")

    def _draw(self, net: nn.Module | None, batch: Batch) -> list[int]:
        """Returns the batch's targets; none if they were not drawn, or can't be drawn again."""
        if net is None or not self._has_targets or self._info.attack.targets != "random":
            return []
        classes = net(batch.x[:1]).shape[1]
        drawn: list[int] = draw_targets(batch, classes, self._info.seed).tolist()
        return drawn
