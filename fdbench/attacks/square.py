"""Square Attack: random squares that lower the margin; no gradients.

Source: Andriushchenko et al. 2020, Sec. 3 and Algorithm 2 (linf). Unlike the package's, each image
has its own random numbers, and leaves as soon as the judge finds it wrong.
"""

from math import sqrt

import torch
from torch import Tensor, nn

from fdbench import randomness
from fdbench.attacks.ascent import Climb, JudgeAt
from fdbench.attacks.losses import margin
from fdbench.attacks.protocol import Tick
from fdbench.randomness import ImageId
from fdbench.threat import Threat
from fdbench.types import Images, Labels

_SHARE = 0.8  # of the image that the first squares cover
_HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries (Sec. 5, "standard")


def _side(query: int, px: int) -> int:
    share = _SHARE / 2 ** sum(query > at for at in _HALVED_AT)
    return max(round(sqrt(share) * px), 1)


def _squares(unit: Tensor, query: int, x: Images) -> tuple[Tensor, Tensor]:
    """A square of each image, as a mask (B, 1, H, W), and a sign for each of its channels."""
    height, width = x.shape[2:]
    side = min(_side(query, min(height, width)), height, width)
    top = (unit[:, 0] * (height - side + 1)).long()[:, None]
    left = (unit[:, 1] * (width - side + 1)).long()[:, None]
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    tall = (rows >= top) & (rows < top + side)
    wide = (columns >= left) & (columns < left + side)
    sign = torch.where(unit[:, 2:5] < 0.5, -1.0, 1.0)
    return (tall[:, :, None] & wide[:, None, :])[:, None], sign[:, :, None, None]


@torch.no_grad()
def square_search(
    net: nn.Module,
    x: Images,
    label: Labels,
    ids: tuple[ImageId, ...],
    threat: Threat,
    *,
    queries: int,
    seed: int,
    judge: JudgeAt,
    tick: Tick,
) -> Climb:
    """Searches within the linf ball by at most `queries` forward passes an image."""
    count, device, width = len(x), x.device, x.shape[-1]
    unit = torch.from_numpy(randomness.uniform(seed, "square", ids, (queries, 5))).to(device)
    stripes = torch.from_numpy(randomness.uniform(seed, "stripes", ids, (3, 1, width))).to(device)
    best = threat.project(x + 2 * threat.eps * (stripes - 0.5).sign(), x)
    value = torch.full((count,), -torch.inf, device=device)
    broken, steps = value > 0, torch.full_like(label, queries)
    passes, left = torch.zeros_like(label), torch.arange(count, device=device)
    for query in range(queries):
        tried = best[left]
        if query:
            mask, sign = _squares(unit[left, query], query, x)
            moved = x[left] + threat.eps * sign
            tried = threat.project(torch.where(mask, moved, tried), x[left])
        logits = net(tried)
        tick(len(left) / count / 2)
        passes[left] += 1
        now = margin(logits, label[left], None)
        better = now > value[left]
        value[left] = torch.where(better, now, value[left])
        best[left] = torch.where(better[:, None, None, None], tried, best[left])
        suspects = (now >= 0).nonzero()[:, 0]
        if len(suspects):
            at = left[suspects]
            passes[at] += 1
            wrong = judge(tried[suspects], at) != label[at]
            broken[at[wrong]], steps[at[wrong]] = True, query
            best[at[wrong]] = tried[suspects[wrong]]
            left = left[~broken[left]]
        if not len(left):
            break
    return Climb(best, value, broken, steps, passes)
