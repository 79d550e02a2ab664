"""l1: the absolute values of an image's perturbation sum to at most eps."""

import torch
from torch import Tensor

from fdbench.threat.norm import Norm

NO_FLOAT64 = {"mps"}  # kinds of devices


def doubled(x: Tensor) -> Tensor:
    """`x` in float64; on the CPU if its device has no float64."""
    return (x.cpu() if x.device.type in NO_FLOAT64 else x).double()


def _clip(delta: Tensor, eps: float) -> Tensor:
    """Returns the nearest point of the l1 ball: soft thresholding (Duchi et al. 2008, Fig. 1)."""
    size = doubled(delta.abs().flatten(1))  # float32's running sums leave the ball by 1e-6
    ordered = size.sort(dim=1, descending=True).values
    excess = ordered.cumsum(1) - eps
    count = torch.arange(1, size.shape[1] + 1, device=size.device)
    last = (ordered * count > excess).sum(1, keepdim=True)
    threshold = (excess.gather(1, last - 1) / last).clamp(min=0.0)
    kept = (size - threshold).clamp(min=0.0).reshape(delta.shape)
    return delta.sign() * kept.to(delta)


def onto_ball_in_box(delta: Tensor, x: Tensor, eps: float) -> Tensor:
    """Returns the nearest image to x + delta that is in the ball and in [0, 1] at once.

    Source: Croce and Hein 2021, "Mind the box", Proposition 2.1. Every value moves back towards x
    by the same amount, but at least into the box and not beyond x: the length of what is left falls
    piecewise linearly with that amount, in pieces between points where a value starts or stops.
    """
    size, start = doubled(delta.abs().flatten(1)), doubled(x.flatten(1))
    up = (delta.flatten(1) > 0).to(size.device)
    room = torch.minimum(size, torch.where(up, 1 - start, start))
    point, order = torch.cat((size - room, size), 1).sort(dim=1)
    moving = torch.where(order < size.shape[1], 1, -1).cumsum(1)  # after each point
    fallen = (moving[:, :-1] * point.diff(dim=1)).cumsum(1)
    length = room.sum(1, keepdim=True)
    piece = (length - fallen > eps).sum(1, keepdim=True)  # where it falls to eps
    before = torch.cat((torch.zeros_like(length), fallen), 1).gather(1, piece)
    rest = (length - before - eps) / moving.gather(1, piece).clamp(min=1)
    amount = torch.where(length > eps, point.gather(1, piece) + rest, 0.0)
    kept = torch.minimum((size - amount).clamp(min=0), room)
    return (start + torch.where(up, kept, -kept)).to(x).view_as(x)


def _noise(unit: Tensor, radius: Tensor, eps: float) -> Tensor:
    """A normal direction, projected: sparse (Croce and Hein 2021, Sec. 4.2)."""
    return _clip(torch.special.ndtri(unit.clamp(1e-7, 1 - 1e-7)), eps)


def _length(delta: Tensor) -> Tensor:
    return delta.abs().flatten(1).sum(1)


L1 = Norm(_clip, _length, noise=_noise)
