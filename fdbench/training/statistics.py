"""Batch-norm statistics of a step whose batch is learnt in pieces, by one process or by several."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fdbench.training.team import Team


@dataclass
class Statistics:
    """Every piece starts from the statistics before the step; the step leaves their mean.

    So they, and with them the attacks, are the same in all processes, and depend on the pieces
    alone: not on which process had which.
    """

    net: nn.Module
    before: list[Tensor] = field(init=False)
    sums: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.before = [tensor.clone() for tensor in self._now]
        self.sums = [torch.zeros_like(tensor) for tensor in self._now]

    @property
    def _now(self) -> list[Tensor]:
        norms = (module for module in self.net.modules() if isinstance(module, _BatchNorm))
        return [tensor for norm in norms for tensor in norm.buffers()]

    def restore(self) -> None:
        """Puts back what was before the step."""
        for tensor, before in zip(self._now, self.before, strict=True):
            tensor.copy_(before)

    def note(self, share: float) -> None:
        """Adds the statistics after a piece that is this share of the batch."""
        for tensor, total in zip(self._now, self.sums, strict=True):
            if total.is_floating_point():
                total.add_(tensor, alpha=share)

    def settle(self, team: Team) -> None:
        """Leaves the mean over all pieces of all processes; their counters agree already."""
        real = [total for total in self.sums if total.is_floating_point()]
        if not real:
            return
        flat = torch.cat([total.flatten() for total in real])
        team.add_up(flat)
        live = [tensor for tensor in self._now if tensor.is_floating_point()]
        means = torch.split(flat, [len(one) for one in live])
        for tensor, mean in zip(live, means, strict=True):
            tensor.copy_(mean)
