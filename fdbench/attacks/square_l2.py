"""What Square Attack tries in l2: bumps that take over the length of windows elsewhere.

Source: Andriushchenko et al. 2020, Sec. 3.4 and Algorithm 3.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from fdbench import randomness
from fdbench.randomness import ImageId
from fdbench.threat import Threat
from fdbench.types import Images

_TILES = 5  # along each side, at the start
_LEAST = 3  # pixels: the side of the smallest window
_TINY = 1e-12


def _bump(height: int, width: int) -> Tensor:
    """Rings that fall off from the middle: a pixel is the sum of 1/(k+1)^2 from its ring k on."""
    rows = (torch.arange(height) - height // 2).abs()[:, None]
    columns = (torch.arange(width) - width // 2).abs()[None]
    rings = max(height, width) // 2 + 1
    tail = (1.0 / torch.arange(1, rings + 1) ** 2).flip(0).cumsum(0).flip(0)
    bump = tail[torch.maximum(rows, columns)]
    return bump / (bump.norm() + _TINY)


def pattern(side: int) -> Float32[Tensor, "S S"]:
    """A bump up beside a bump down, of length 1."""
    both = torch.cat((_bump(side // 2, side), -_bump(side - side // 2, side)))
    return both / both.norm()


def signs(unit: Tensor) -> Tensor:
    """1 or -1 for each uniform number."""
    return torch.where(unit < 0.5, -1.0, 1.0)


def _turned(side: int, unit: Float32[Tensor, "*N"]) -> Float32[Tensor, "*N S S"]:
    """The pattern, upright or on its side."""
    one = pattern(side).to(unit.device)
    return torch.where((unit < 0.5)[..., None, None], one, one.T)


def tiles(x: Images, ids: Sequence[ImageId], threat: Threat, seed: int) -> Images:
    """The first query: five by five patterns, at the full length."""
    side = max(min(x.shape[2:]) // _TILES, 1)
    down, across = (length // side for length in x.shape[2:])
    size = down * across
    drawn = torch.from_numpy(randomness.uniform(seed, "tiles", ids, (size * 4,))).to(x.device)
    unit = drawn.view(len(x), down, across, 4)
    tile = (
        _turned(side, unit[..., 3])[:, None]
        * signs(unit[..., :3]).permute(0, 3, 1, 2)[..., None, None]
    )
    grid = tile.permute(0, 1, 2, 4, 3, 5).reshape(len(x), 3, down * side, across * side)
    delta = torch.zeros_like(x)
    top, left = (
        (length - used) // 2 for length, used in zip(x.shape[2:], grid.shape[2:], strict=True)
    )
    delta[:, :, top : top + grid.shape[2], left : left + grid.shape[3]] = grid
    return _at_full_length(delta, x, threat)


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
    own, both = _length(delta * one), _length(delta * (one | two))
    room = (threat.eps**2 - threat.geometry.length(delta) ** 2).clamp(min=0) / 3
    fresh = _turned(side, unit[:, 7])[:, None] * signs(unit[:, 4:7])[:, :, None, None]
    placed = torch.zeros_like(x)
    placed[one.expand_as(x)] = fresh.reshape(-1)
    placed = placed + delta * one / (own + _TINY)
    placed = placed / (_length(placed) + _TINY) * (room[:, None, None, None] + both**2).sqrt()
    return _at_full_length(torch.where(one, placed, delta * ~two), x, threat)


def _length(delta: Images) -> Tensor:
    """Of each channel, (B, 3, 1, 1)."""
    return delta.pow(2).sum((2, 3), keepdim=True).sqrt()
