"""FAB towards the likeliest wrong classes in turn: the smallest step over a linearised boundary.

Source: Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary
attack", Algorithm 1, as AutoAttack's third attack runs it: from the image itself, no random
numbers. The same iterates as the package's, up to rounding; the projection needs no sorting, and an
image leaves as soon as its adversary lies within eps, which changes no other image's.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from fdbench.threat import Threat
from fdbench.types import Images, Labels, Net, Values

NORMS = ("linf", "l2")
_MOST = 0.1  # alpha_max: the share of the step that starts from the clean image
_BEYOND = 1.05  # eta: how far beyond the boundary
_BACK = 0.9  # beta: where an adversary restarts, on its line to the clean image
_ALL = torch.finfo(torch.float32).max  # of the room; not inf, as inf * 0 is no number
_ROUNDING = 1e-7  # relative; of Newton's steps, about 5 reach it
_NEWTON = 50  # steps at most

Flat = Float32[Tensor, "B D"]


@dataclass
class _Search:
    """The images still searching, by their positions in the batch; one may stand for several."""

    index: Labels
    x: Images
    label: Labels
    target: Labels
    at: Images

    def take(self, keep: Tensor) -> "_Search":
        return _Search(**{one.name: getattr(self, one.name)[keep] for one in fields(self)})


def onto_plane(point: Flat, normal: Flat, gap: Values, norm: str) -> Flat:
    """The smallest moves, in the norm, that change normal . point by -gap and stay in [0, 1].

    Where the box does not reach that far: the corner nearest to it. A move is limited in every
    coordinate by the box, and otherwise the same (linf) or in proportion to the normal (l2); what
    it gains is concave and piecewise linear in its size, so Newton's steps from 0 never overshoot.
    """
    way = -(normal * gap.sign()[:, None]).sign()
    room, weight = ((way + 1) / 2 - point).abs(), normal.abs()
    size = _size(room, weight, gap.abs(), norm)[:, None]
    reach = size if norm == "linf" else size * weight
    return way * torch.minimum(reach, room)


def _size(room: Flat, weight: Flat, wanted: Values, norm: str) -> Values:
    """The size at which moves gain what is wanted; _ALL where the box has no room for that.

    Rows that are done leave. Masks are kept as numbers: products with booleans are slow on a CPU.
    """
    size = torch.zeros_like(wanted)
    index, now = torch.arange(len(size), device=size.device), size.clone()
    for _ in range(_NEWTON):
        reach = now[:, None] if norm == "linf" else now[:, None] * weight
        gained = torch.linalg.vecdot(weight, torch.minimum(reach, room))
        free = torch.gt(room, reach, out=torch.empty_like(room))
        slope = torch.linalg.vecdot(weight if norm == "linf" else weight * weight, free)
        further = ((wanted - gained) / slope).clamp(min=0)
        full = (slope == 0) & (wanted - gained > _ROUNDING * wanted)
        now = torch.where(full, _ALL, now + further.nan_to_num(0.0, posinf=0.0))
        size[index] = now
        going = (further > _ROUNDING * now) & (slope > 0)
        if not going.all():
            index, now, room = index[going], now[going], room[going]
            weight, wanted = weight[going], wanted[going]
        if not len(index):
            break
    return size


def _gap(net: Net, one: _Search) -> tuple[Values, Flat]:
    """How far the target's logit is above the label's, and its gradient."""
    with torch.enable_grad():
        at = one.at.detach().requires_grad_()
        logits = net(at)
        gap = (logits.gather(1, one.target[:, None]) - logits.gather(1, one.label[:, None]))[:, 0]
        (grad,) = torch.autograd.grad(gap.sum(), at)
    return gap.detach(), grad.flatten(1)


def _step(net: Net, one: _Search, threat: Threat) -> Images:
    """The next iterate: over the boundary seen from here, drawn towards the clean image's way."""
    gap, normal = _gap(net, one)
    here, clean = one.at.flatten(1), one.x.flatten(1)
    from_clean = gap + (normal * (clean - here)).sum(1)
    first = onto_plane(here, normal, gap, threat.norm).view_as(one.x)
    second = onto_plane(clean, normal, from_clean, threat.norm).view_as(one.x)
    far, near = (threat.geometry.length(move).clamp(min=1e-8) for move in (first, second))
    share = (far / (far + near)).clamp(max=_MOST)[:, None, None, None]
    ahead, beside = one.at + _BEYOND * first, one.x + _BEYOND * second
    return ((1 - share) * ahead + share * beside).clamp(0, 1)


def _search(
    net: Net, one: _Search, threat: Threat, iters: int, adv: Float32[Tensor, "N 3 H W"]
) -> Int64[Tensor, " L"]:
    """Writes adversaries within eps into `adv`; returns the positions of the other images."""
    broken = torch.zeros(len(adv), dtype=torch.bool, device=adv.device)
    for _ in range(iters):
        one.at = _step(net, one, threat)
        wrong = net(one.at).argmax(1) != one.label
        near = wrong & (threat.distance(one.at, one.x) <= threat.eps)
        adv[one.index[near]] = one.at[near]
        broken[one.index[near]] = True  # also on its way to other classes
        back = one.x + _BACK * (one.at - one.x)
        one.at = torch.where(wrong[:, None, None, None], back, one.at)
        if near.any():
            one = one.take(~broken[one.index])
        if not len(one.index):
            break
    return one.index


@torch.no_grad()
def fab_targeted(
    net: Net, x: Images, label: Labels, threat: Threat, *, iters: int, targets: int, most: int = 1
) -> Images:
    """Returns an adversary within eps for each image that it breaks, else the image.

    Args:
        net: the attacked network; images that it gets wrong are returned unchanged.
        threat: in linf or l2.
        iters: steps towards each class.
        targets: wrong classes, likeliest first.
        most: images in a pass; where fewer are left, one goes towards several classes at once.
    """
    logits, adv = net(x), x.clone()
    order = logits.argsort(1, descending=True)
    left = (logits.argmax(1) == label).nonzero()[:, 0]
    rank, end = 1, min(targets, logits.shape[1] - 1) + 1
    while rank < end and len(left):
        together = min(max(1, most // len(left)), end - rank)
        target = order[left, rank : rank + together].flatten()
        index = left.repeat_interleave(together)
        one = _Search(index, x[index], label[index], target, x[index])
        left = torch.unique(_search(net, one, threat, iters, adv))
        rank += together
    return adv
