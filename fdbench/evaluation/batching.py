"""Which images this process attacks, in which batches."""

import torch
from torch import nn

from fdbench.evaluation.evaluation import BATCH, Evaluation
from fdbench.machine import batch_size
from fdbench.randomness import ImageId
from fdbench.types import Images

Chunks = list[list[int]]  # positions in the data set, batch by batch


def _cut(positions: list[int], size: int) -> Chunks:
    return [positions[i : i + size] for i in range(0, len(positions), size)]


def remaining(
    evaluation: Evaluation, done: set[ImageId], rank: int, world: int
) -> tuple[Chunks, int]:
    """Returns this process's unfinished batches, and the number of all its images.

    Attacks that draw per batch keep their batches, whatever is done and by which process; one that
    draws per run is left to the first process.
    """
    ids, positions = evaluation.data.ids, evaluation.positions
    if evaluation.draws == "image":
        mine = positions[rank::world]
        left = [position for position in mine if ids[position] not in done]
        return _cut(left, evaluation.most), len(mine)
    size = len(positions) if evaluation.draws == "run" else evaluation.most
    chunks = _cut(positions, size)[rank::world]
    undone = [chunk for chunk in chunks if any(ids[position] not in done for position in chunk)]
    return undone, sum(map(len, chunks))


def fitting(
    evaluation: Evaluation, net: nn.Module, example: Images, chunks: Chunks, device: torch.device
) -> Chunks:
    """Returns smaller batches if these would not fit in memory, unless their size was given."""
    fixed = evaluation.batch_size or evaluation.draws != "image"
    if fixed or not evaluation.spec.parameters.sees_network:
        return chunks
    size = batch_size(net, example, device, BATCH)
    if size >= max(map(len, chunks)):
        return chunks
    return _cut([position for chunk in chunks for position in chunk], size)
