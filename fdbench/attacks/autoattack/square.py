"""Square Attack as AutoAttack runs it in linf, written into the images in place.

Source: Andriushchenko et al. 2020, Sec. 3, Algorithm 2. Windows and signs are drawn as the package
draws them, from torch's global generator and the same for all images, so that the proposals are the
package's, up to rounding. What a window holds after a proposal does not depend on what it held
before: x plus or minus eps, clipped to [0, 1]. So only windows are copied, where the package copies
every image a dozen times for each query.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor

from fdbench.attacks.ascent import JudgeAt
from fdbench.attacks.losses import margin
from fdbench.attacks.square import side_of
from fdbench.threat import Threat
from fdbench.types import Images, Labels, Net, Values

NORMS = ("linf",)


@dataclass
class _Left:
    """The images not broken yet, by their positions in the batch."""

    index: Labels
    x: Images
    label: Labels
    adv: Images
    value: Values  # the margin at `adv`

    def take(self, keep: Tensor) -> "_Left":
        return _Left(
            self.index[keep], self.x[keep], self.label[keep], self.adv[keep], self.value[keep]
        )


def _signs(*shape: int) -> Float32[Tensor, "..."]:
    return (2 * torch.rand(shape) - 1).sign()


def _window(query: int, height: int, width: int) -> tuple[slice, slice]:
    """The window of a query."""
    side = side_of(query, height, width)
    top, left = (int((size - side) * torch.rand(1)) for size in (height, width))
    return slice(top, top + side), slice(left, left + side)


def _leave(one: _Left, value: Values, judge: JudgeAt, adv: Float32[Tensor, "N 3 H W"]) -> _Left:
    """Writes down the images that the judge finds wrong; returns the others."""
    suspects = (value >= 0).nonzero()[:, 0]
    if not len(suspects):
        return one
    wrong = judge(one.adv[suspects], one.index[suspects]) != one.label[suspects]
    gone = suspects[wrong]
    adv[one.index[gone]] = one.adv[gone]
    stays = torch.ones_like(one.index, dtype=torch.bool)
    stays[gone] = False
    return one.take(stays)


def _propose(net: Net, one: _Left, query: int, threat: Threat) -> Values:
    """Tries one window in all images and keeps it where the margin rose; returns the margins."""
    channels, height, width = one.x.shape[1:]
    rows, columns = _window(query, height, width)
    sign = _signs(channels, 1, 1).to(one.x.device)
    part = one.adv[:, :, rows, columns]
    before = part.clone()
    part.copy_((one.x[:, :, rows, columns] + threat.eps * sign).clamp_(0, 1))
    value = margin(net(one.adv), one.label, None)
    worse = (value <= one.value).nonzero()[:, 0]
    part[worse] = before[worse]
    one.value = torch.maximum(value, one.value)
    return value


@torch.no_grad()
def square_attack(
    net: Net, x: Images, label: Labels, threat: Threat, *, queries: int, judge: JudgeAt
) -> Images:
    """Returns each image as it was when it broke, or unchanged where it did not break.

    Draws from torch's global generator.

    Args:
        net: the attacked network; images that it gets wrong are returned unchanged.
        threat: in linf.
        queries: forward passes for an image.
        judge: has the last word on images that `net` finds wrong.
    """
    adv = x.clone()
    index = (net(x).argmax(1) == label).nonzero()[:, 0]
    if not len(index):
        return adv
    stripes = _signs(len(index), x.shape[1], 1, x.shape[3]).to(x.device)
    start = (x[index] + threat.eps * stripes).clamp(0, 1)
    one = _Left(index, x[index], label[index], start, margin(net(start), label[index], None))
    one = _leave(one, one.value, judge, adv)
    for query in range(queries):
        if not len(one.index):
            break
        one = _leave(one, _propose(net, one, query, threat), judge, adv)
    return adv
