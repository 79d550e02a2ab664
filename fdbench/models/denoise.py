"""Denoising operations on feature maps, and the block that wraps one of them.

Source: Xie et al. 2019, "Feature Denoising for Improving Adversarial Robustness", Sec. 4, and the
authors' released code where the text is silent. The released code has only the two non-local
operations; the choices for the 3x3 ones, which were never published, are explained with each.

No 3x3 operation adds values from outside the map: a 1x1 map is its own mean, median and
neighbourhood, and no zero padding darkens a border.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from fdbench.models.attention import attend

Features = Float[Tensor, "B C H W"]
Embedded = Float[Tensor, "B D H W"]  # theta(x), phi(x): D = C / 2
Sequences = Float[Tensor, "B N C"]  # a map as N = H * W vectors


def sequences(x: Features) -> Sequences:
    """Returns the map's positions as rows; a view if `x` is channels_last, else a copy.

    Contiguous, because the tiled attention of a CPU needs adjacent channels, and otherwise silently
    builds the N x N map.
    """
    return x.flatten(2).mT.contiguous()


def as_map(rows: Sequences, x: Features) -> Features:
    """Returns the rows as a map with the shape of `x`; a channels_last view."""
    return rows.mT.reshape(x.shape)


def nonlocal_gauss(x: Features, theta: Embedded, phi: Embedded) -> Features:
    """Replaces each position by the mean of all, weighted by softmax_j(theta_i . phi_j / sqrt(D)).

    D is the number of embedded channels. The values are `x` itself, without an embedding (paper,
    Fig. 5; released code).
    """
    scale = theta.shape[1] ** -0.5
    return as_map(attend(sequences(theta), sequences(phi), sequences(x), scale), x)


def nonlocal_dot(x: Features) -> Features:
    """Returns (x^T x) x / N: each position is the sum of all, weighted by their dot products.

    No embedding and no softmax (released code). The triple product is taken in the cheaper order:
    through a C x C matrix if C <= N, else through the smaller N x N one.
    """
    rows = sequences(x)  # (B, N, C)
    positions, channels = rows.shape[1:]
    if channels <= positions:
        return as_map(rows @ (rows.mT @ rows / positions), x)
    return as_map((rows @ rows.mT / positions) @ rows, x)


def shifts(padded: Tensor) -> Iterator[Tensor]:
    """Yields nine views of a map padded by 1, each with one 3x3 neighbour in its centre's place."""
    height, width = padded.shape[-2] - 2, padded.shape[-1] - 2
    for down in range(3):
        for right in range(3):
            yield padded[..., down : down + height, right : right + width]


def _ring(x: Tensor) -> Tensor:
    return F.pad(x, (1, 1, 1, 1))  # zeros around the map: (..., H + 2, W + 2)


def inside(x: Features) -> Bool[Tensor, "1 9 H W"]:
    """Returns which of each position's 3x3 neighbours are inside the map."""
    return torch.cat(list(shifts(_ring(torch.ones_like(x[:1, :1]))))).bool().transpose(0, 1)


def affinities(query: Embedded, key: Embedded) -> Float[Tensor, "B 9 H W"]:
    """Returns the dot product of each position with its 3x3 neighbours; 0 outside the map."""
    return torch.stack([(query * near).sum(1) for near in shifts(_ring(key))], 1)


def weigh(x: Features, weights: Float[Tensor, "B 9 H W"]) -> Features:
    """Returns the weighted sum of each position's 3x3 neighbours."""
    pairs = zip(weights.unsqueeze(2).unbind(1), shifts(_ring(x)), strict=True)
    first, *others = (weight * near for weight, near in pairs)  # (B, 1, H, W) * (B, C, H, W)
    return sum(others, start=first)


def bilateral_gauss(x: Features, theta: Embedded, phi: Embedded) -> Features:
    """Applies `nonlocal_gauss` within the 3x3 neighbourhood.

    The softmax runs over the neighbours inside the map, so it is the same weighted mean everywhere,
    and equals `nonlocal_gauss` if all positions are neighbours.
    """
    scores = affinities(theta * theta.shape[1] ** -0.5, phi)
    return weigh(x, scores.masked_fill(~inside(x), -torch.inf).softmax(1))


def bilateral_dot(x: Features) -> Features:
    """Applies `nonlocal_dot` within the 3x3 neighbourhood.

    The normaliser isn't documented. The non-local form divides by the number of positions it sums
    over; here that is the number of neighbours in the map (9, 6 at an edge, 4 at a corner), so this
    equals `nonlocal_dot` if all positions are neighbours. A constant 9 would weaken borders.
    """
    return weigh(x, affinities(x, x) / inside(x).sum(1, keepdim=True))


def mean(x: Features) -> Features:
    """Returns the mean of the 3x3 neighbourhood, stride 1.

    Borders aren't documented: the mean is over the neighbours in the map, as in `bilateral_dot`.
    """
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def median(x: Features) -> Features:
    """Returns the median of the 3x3 neighbourhood, per channel.

    The gradient goes to the selected element, split equally among ties. Any tied element is the
    median after a small change, so each choice is a subgradient, and so is their mean. Ties are the
    rule, not the exception, among the zeros of a ReLU.

    Borders aren't documented: the map's edge is replicated, since only an odd number of values has
    a middle element, and zeros would pull the border down.
    """
    return _Median.apply(F.pad(x, (1, 1, 1, 1), mode="replicate"))


Triple = tuple[Tensor, Tensor, Tensor]


def _sort(a: Tensor, b: Tensor, c: Tensor) -> Triple:
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    middle = torch.maximum(low, c)
    return torch.minimum(low, c), torch.minimum(middle, high), torch.maximum(middle, high)


def _middle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    return torch.maximum(low, torch.minimum(high, c))


def _columns(x: Tensor) -> Triple:
    width = x.shape[-1] - 2
    return x[..., :width], x[..., 1 : 1 + width], x[..., 2:]


def _median_of_nine(padded: Tensor) -> Tensor:
    """Sorts each column once for its three neighbours; the median of nine is then the median of the
    largest low, the median middle and the smallest high: 18 elementwise passes.
    """
    height = padded.shape[-2] - 2
    rows = padded[..., :height, :], padded[..., 1 : 1 + height, :], padded[..., 2:, :]
    low, middle, high = (_columns(part) for part in _sort(*rows))
    largest_low = torch.maximum(torch.maximum(low[0], low[1]), low[2])
    smallest_high = torch.minimum(torch.minimum(high[0], high[1]), high[2])
    return _middle(largest_low, _middle(*middle), smallest_high)


class _Median(torch.autograd.Function):
    """Defines its backward: autograd would keep a dozen maps for the minima and maxima and take ten
    times as long (369 against 46 ms at batch 2, 256 channels, 56x56, fp32, one thread).
    """

    @staticmethod
    def forward(ctx: Any, padded: Tensor) -> Tensor:
        selected = _median_of_nine(padded)
        ctx.save_for_backward(padded, selected)
        return selected

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        padded, selected = ctx.saved_tensors
        hits = [near == selected for near in shifts(padded)]
        ties = torch.zeros_like(selected)
        for hit in hits:
            ties += hit
        share, out = grad / ties, torch.zeros_like(padded)
        for part, hit in zip(shifts(out), hits, strict=True):
            part.addcmul_(share, hit.to(grad.dtype))
        return out


class Embedding(nn.Conv2d):
    """theta or phi: a 1x1 convolution to C / 2 channels, without bias (released code)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, max(1, channels // 2), 1, bias=False)


class NonlocalGauss(nn.Module):
    """`nonlocal_gauss` with learnt embeddings."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = Embedding(channels)
        self.phi = Embedding(channels)

    def forward(self, x: Features) -> Features:
        return nonlocal_gauss(x, self.theta(x), self.phi(x))


class BilateralGauss(NonlocalGauss):
    """`bilateral_gauss` with learnt embeddings."""

    def forward(self, x: Features) -> Features:
        return bilateral_gauss(x, self.theta(x), self.phi(x))


class _Parameterless(nn.Module):
    """An operation without parameters; takes the number of channels, as learnt ones do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def extra_repr(self) -> str:
        return str(self.channels)


class NonlocalDot(_Parameterless):
    """`nonlocal_dot` as a module."""

    def forward(self, x: Features) -> Features:
        return nonlocal_dot(x)


class BilateralDot(_Parameterless):
    """`bilateral_dot` as a module."""

    def forward(self, x: Features) -> Features:
        return bilateral_dot(x)


class Mean(_Parameterless):
    """`mean` as a module."""

    def forward(self, x: Features) -> Features:
        return mean(x)


class Median(_Parameterless):
    """`median` as a module."""

    def forward(self, x: Features) -> Features:
        return median(x)


class Null(_Parameterless):
    """The identity, to test the block's other parts alone (paper, Fig. 7)."""

    def forward(self, x: Features) -> Features:
        return x


@dataclass(frozen=True)
class Design:
    """Which parts the block keeps (paper, Table 1)."""

    mix: bool = True  # the 1x1 convolution
    residual: bool = True


DESIGNS = {
    "full": Design(),
    # Without the convolution but with its batch norm: still the identity at the start and a learnt
    # weight per channel, so that only the mixing of channels differs from the full block.
    "no-1x1": Design(mix=False),
    "no-residual": Design(residual=False),
}


class DenoiseBlock(nn.Module):
    """x + BN(conv1x1(operation(x))), without bias and without ReLU (paper, Fig. 4).

    Like every batch norm of these networks, this one is named `bn` and follows its sibling `conv`,
    which is an nn.Identity if the design has no convolution.
    """

    def __init__(self, channels: int, operation: nn.Module, design: Design) -> None:
        super().__init__()
        self.operation = operation
        self.conv = nn.Conv2d(channels, channels, 1, bias=False) if design.mix else nn.Identity()
        self.bn = nn.BatchNorm2d(channels)
        self.residual = design.residual

    def forward(self, x: Features) -> Features:
        denoised = self.bn(self.conv(self.operation(x)))
        return x + denoised if self.residual else denoised

    def silence(self) -> None:
        """Sets gamma = 0: the block starts as the identity (released code).

        Without the residual it would start as a constant and pass no gradient to earlier layers;
        gamma then keeps batch norm's default of 1.
        """
        if self.residual:
            nn.init.zeros_(self.bn.weight)
