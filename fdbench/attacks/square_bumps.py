"""What Square Attack tries in l2 and l1: bumps that take over the length of windows elsewhere.

Source: Andriushchenko et al. 2020, Sec. 3.4 and Algorithm 3 (l2); Croce and Hein 2021, "Mind the
box", Sec. 5 (l1): lengths are sums of absolute values, bumps are steeper, and what is tried is
projected onto ball and box at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from fdbench import randomness
from fdbench.randomness import ImageId
from fdbench.threat import Threat, onto_ball_in_box
from fdbench.types import Images

_TILES = 5  # along each side, at the start
_LEAST = 3  # pixels: the side of the smallest window
_TINY = 1e-12


@dataclass(frozen=True)
class _Rule:
    """What depends on the norm: the power of lengths, and that by which rings fall off."""

    power: int
    fall: int
    over: float  # how much longer a window becomes than what it takes over
    legal: Callable[[Images, Images, Threat], Images]  # (perturbation, x, threat) -> images

    def length(self, delta: Tensor) -> Tensor:
        """Of the last two axes, which are kept."""
        return delta.abs().pow(self.power).sum((-2, -1), keepdim=True).pow(1 / self.power)

    def spent(self, delta: Tensor) -> Tensor:
        """What lengths of parts are added up as."""
        return delta.abs().pow(self.power).sum((-2, -1), keepdim=True)


def _bump(height: int, width: int, fall: int) -> Tensor:
    """Rings that fall off from the middle: a pixel sums 1/(k+1)^fall from its ring k on."""
    rows = (torch.arange(height) - height // 2).abs()[:, None]
    columns = (torch.arange(width) - width // 2).abs()[None]
    rings = max(height, width) // 2 + 1
    tail = (1.0 / torch.arange(1, rings + 1) ** fall).flip(0).cumsum(0).flip(0)
    return tail[torch.maximum(rows, columns)]


def pattern(side: int, norm: str) -> Float32[Tensor, "S S"]:
    """A bump up beside a bump down, equally long, together of length 1."""
    rule = _RULES[norm]
    halves = (_bump(height, side, rule.fall) for height in (side // 2, side - side // 2))
    up, down = (half / (rule.length(half) + _TINY) for half in halves)
    both = torch.cat((up, -down))
    return both / rule.length(both)


def signs(unit: Tensor) -> Tensor:
    """1 or -1 for each uniform number."""
    return torch.where(unit < 0.5, -1.0, 1.0)


def _turned(side: int, unit: Float32[Tensor, "*N"], norm: str) -> Float32[Tensor, "*N S S"]:
    """The pattern, upright or on its side."""
    one = pattern(side, norm).to(unit.device)
    return torch.where((unit < 0.5)[..., None, None], one, one.T)


def tiles(x: Images, ids: Sequence[ImageId], threat: Threat, seed: int) -> Images:
    """The first query: five by five patterns, at the full length."""
    side = max(min(x.shape[2:]) // _TILES, 1)
    down, across = (length // side for length in x.shape[2:])
    size = down * across
    drawn = torch.from_numpy(randomness.uniform(seed, "tiles", ids, (size * 4,))).to(x.device)
    unit = drawn.view(len(x), down, across, 4)
    tile = (
        _turned(side, unit[..., 3], threat.norm)[:, None]
        * signs(unit[..., :3]).permute(0, 3, 1, 2)[..., None, None]
    )
    grid = tile.permute(0, 1, 2, 4, 3, 5).reshape(len(x), 3, down * side, across * side)
    delta = torch.zeros_like(x)
    top, left = (
        (length - used) // 2 for length, used in zip(x.shape[2:], grid.shape[2:], strict=True)
    )
    delta[:, :, top : top + grid.shape[2], left : left + grid.shape[3]] = grid
    return _RULES[threat.norm].legal(delta, x, threat)


def _at_full_length(delta: Images, x: Images, threat: Threat) -> Images:
    length = threat.geometry.length(delta)[:, None, None, None]
    return (x + threat.eps * delta / (length + _TINY)).clamp(0, 1)


def window(unit: Float32[Tensor, "B 2"], side: int, x: Images) -> Bool[Tensor, "B 1 H W"]:
    """A square of each image, at a place that two uniform numbers choose."""
    height, width = x.shape[2:]
    top = (unit[:, 0] * (height - side + 1)).long()[:, None]
    left = (unit[:, 1] * (width - side + 1)).long()[:, None]
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    tall, wide = (rows >= top) & (rows < top + side), (columns >= left) & (columns < left + side)
    return (tall[:, :, None] & wide[:, None, :])[:, None]


def moved(
    best: Images, x: Images, threat: Threat, unit: Float32[Tensor, "B 8"], side: int
) -> Images:
    """Puts a new pattern into one window, with the length of another, which is emptied.

    Args:
        unit: eight uniform numbers for each image: two windows, three signs, which way it lies.
        side: of the windows; made odd.
    """
    side = max(side, _LEAST)
    side = min(side + 1 - side % 2, *(length - 1 + length % 2 for length in x.shape[2:]))
    one, two = window(unit[:, :2], side, x), window(unit[:, 2:4], side, x)
    delta = best - x
    rule = _RULES[threat.norm]
    spent = rule.spent(delta).sum(1, keepdim=True)
    room = (threat.eps**rule.power - spent).clamp(min=0) / 3  # for each channel
    fresh = _turned(side, unit[:, 7], threat.norm)[:, None] * signs(unit[:, 4:7])[:, :, None, None]
    placed = torch.zeros_like(x)
    placed[one.expand_as(x)] = fresh.reshape(-1)
    placed = placed + delta * one / (rule.length(delta * one) + _TINY)
    longer = (room + rule.spent(delta * (one | two))).pow(1 / rule.power)
    placed = placed / (rule.length(placed) + _TINY) * longer * rule.over
    return rule.legal(torch.where(one, placed, delta * ~two), x, threat)


_RULES = {
    "l2": _Rule(2, 2, 1.0, _at_full_length),
    # Its projection shortens all values alike, so what is too long displaces the rest, as in the
    # package: after 300 queries 86 images were left, 117 with windows of equal length (a small CNN
    # on CIFAR-10, 200 images, eps 8).
    "l1": _Rule(1, 4, 3.0, lambda delta, x, threat: onto_ball_in_box(delta, x, threat.eps)),
}
