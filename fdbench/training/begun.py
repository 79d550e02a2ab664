"""A batch of which some pieces are learnt: what a training that stops there goes on from."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fdbench.training.statistics import Statistics


@dataclass(frozen=True)
class Begun:
    """The sum of the learnt pieces, in one process; weights and statistics are the step's first.

    Attributes:
        pieces: of the whole batch.
        done: how many of them are learnt.
        sums: of their losses and counts.
        tensors: their gradients, by parameter, and the sums of their batch-norm statistics.
    """

    pieces: int
    done: int
    sums: dict[str, int | float]
    tensors: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        net: nn.Module,
        statistics: Statistics,
        pieces: int,
        done: int,
        sums: Mapping[str, int | float],
    ) -> "Begun":
        """As it stands after a backward pass; shares the gradients' memory."""
        grads = {f"grad.{name}": p.grad for name, p in net.named_parameters() if p.grad is not None}
        means = {f"statistics.{number}": total for number, total in enumerate(statistics.sums)}
        return cls(pieces, done, dict(sums), grads | means)

    def restore(self, net: nn.Module, statistics: Statistics) -> None:
        """Puts gradients and statistics back."""
        for name, parameter in net.named_parameters():
            if (grad := self.tensors.get(f"grad.{name}")) is not None:
                parameter.grad = torch.empty_like(parameter).copy_(grad)
        for number, total in enumerate(statistics.sums):
            total.copy_(self.tensors[f"statistics.{number}"])
