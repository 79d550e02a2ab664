"""Square Attack: random squares that lower the margin; no gradients.

Source: Andriushchenko et al. 2020, Sec. 3, Algorithm 2 (linf; l2 and l1 in square_bumps.py). Unlike
in the package, each image has its own random numbers, and leaves once the judge finds it wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from fdbench import randomness
from fdbench.attacks.ascent import Climb, JudgeAt
from fdbench.attacks.losses import margin
from fdbench.attacks.protocol import Tick
from fdbench.attacks.square_bumps import moved, signs, tiles, window
from fdbench.randomness import ImageId
from fdbench.threat import Threat
from fdbench.types import Images, Labels, Values

_SHARE = 0.8  # of the image that the first squares cover
_HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries (Sec. 5, "standard")


def side_of(query: int, height: int, width: int) -> int:
    """How long the sides of a query's window are."""
    share = _SHARE / 2 ** sum(query > at for at in _HALVED_AT)
    return min(max(round(sqrt(share * height * width)), 1), height, width)


def _squared(best: Images, x: Images, threat: Threat, unit: Tensor, side: int) -> Images:
    """Moves a square of each image to the ends of the ball, each channel to its own."""
    mask = window(unit[:, :2], side, x)
    sign = signs(unit[:, 2:5])[:, :, None, None]
    return threat.project(torch.where(mask, x + threat.eps * sign, best), x)


def _stripes(x: Images, ids: Sequence[ImageId], threat: Threat, seed: int) -> Images:
    """The first query: columns of both ends of the ball, by channel."""
    unit = torch.from_numpy(randomness.uniform(seed, "stripes", ids, (3, 1, x.shape[-1])))
    return threat.project(x + threat.eps * (unit - 0.5).sign().to(x.device), x)


@dataclass(frozen=True)
class _Proposals:
    """What the search tries in a norm, and how many random numbers that takes each time."""

    first: Callable[[Images, Sequence[ImageId], Threat, int], Images]
    moved: Callable[[Images, Images, Threat, Tensor, int], Images]
    draws: int


_NORMS = {
    "linf": _Proposals(_stripes, _squared, draws=5),
    "l2": _Proposals(tiles, moved, draws=8),
    "l1": _Proposals(tiles, moved, draws=8),
}
SEARCHED = tuple(_NORMS)


@torch.no_grad()
def square_search(
    net: nn.Module,
    x: Images,
    label: Labels,
    ids: Sequence[ImageId],
    threat: Threat,
    *,
    queries: int,
    seed: int,
    judge: JudgeAt,
    tick: Tick,
) -> Climb:
    """Searches within the ball by at most `queries` forward passes an image; norms of SEARCHED."""
    rule = _NORMS[threat.norm]
    drawn = randomness.uniform(seed, "square", ids, (queries, rule.draws))
    unit = torch.from_numpy(drawn).to(x.device)
    done = Climb.begun(rule.first(x, ids, threat, seed), label, queries)
    left = torch.arange(len(x), device=x.device)
    for query in range(queries):
        tried = done.adv[left]
        if query:
            side = side_of(query, *x.shape[2:])
            tried = rule.moved(tried, x[left], threat, unit[left, query], side)
        tick(len(left) / len(x) / 2)
        left = _keep(done, tried, margin(net(tried), label[left], None), left, query, judge, label)
        if not len(left):
            break
    return done


def _keep(
    done: Climb,
    tried: Images,
    value: Values,
    left: Int64[Tensor, " L"],
    query: int,
    judge: JudgeAt,
    label: Int64[Tensor, " N"],
) -> Int64[Tensor, " R"]:
    """Records what was tried where it raised the margin; returns the images that are left."""
    done.passes[left] += 1
    better = value > done.value[left]
    done.value[left[better]], done.adv[left[better]] = value[better], tried[better]
    suspects = (value >= 0).nonzero()[:, 0]
    if len(suspects):
        at = left[suspects]
        done.passes[at] += 1
        wrong = judge(tried[suspects], at) != label[at]
        gone = at[wrong]
        done.broken[gone], done.step[gone] = True, query
        done.adv[gone] = tried[suspects[wrong]]
    return left[~done.broken[left]]
