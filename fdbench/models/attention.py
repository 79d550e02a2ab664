"""Softmax attention over all positions of a feature map, without the N x N attention map.

Three implementations of one function; the fastest that fits is used. Forward and input gradient,
one thread of a CPU with AVX-512 and without AMX, torch 2.15, milliseconds per image, fp32 / bf16:

      N   channels   whole map    tiles        rows
    784       128    9.9 / 4.9    13 / 11      10 / 6.6
    784       512     77 / 30     98 / 80      73 / 41
   1024        64     33 / 13     24 / 21      22 / 15
   1024       256     74 / 16     74 / 33      32 / 17
   3136       256    392 / 181   390 / 309    308 / 160

The whole map is best for few positions; at N = 3136 it would take 39 MB per image in fp32. Rows
reach 82 GFLOP/s at N = 3136 in fp32, as plain matrix products do on that core.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Queries = Float[Tensor, "B N D"]
Values = Float[Tensor, "B N C"]

MAP_LIMIT = 256  # above this N, no N x N map is built
NARROW = 64  # below this many channels, tiles beat rows: at N = 784, 16 channels 1.3 to 1.9 ms
ROWS = 256  # rows of the map at a time; 64 to 784 are within 15 % in fp32


def attend(query: Queries, key: Queries, value: Values, scale: float) -> Values:
    """Returns softmax(scale query key^T) value; above MAP_LIMIT, memory is linear in N."""
    positions, channels = value.shape[1:]
    if positions <= MAP_LIMIT:
        return (query * scale @ key.mT).softmax(-1) @ value
    if channels < NARROW or value.device.type != "cpu":
        return _tiled(query, key, value, scale)
    return _Rows.apply(query, key, value, scale)


def _tiled(query: Queries, key: Queries, value: Values, scale: float) -> Values:
    """Uses PyTorch's kernel. Query and key are zero-padded to the width of `value`, which leaves
    their products unchanged: a CPU tiles only equal widths.
    """
    padding = (0, value.shape[-1] - query.shape[-1])
    query, key = F.pad(query, padding), F.pad(key, padding)  # (B, N, C)
    query, key, value = query[:, None], key[:, None], value[:, None]  # (B, 1, N, C): one head
    return F.scaled_dot_product_attention(query, key, value, scale=scale)[:, 0]


class _Rows(torch.autograd.Function):
    """Computes ROWS rows of one image's map at a time, and again for the gradient (Dao et al. 2022,
    Alg. 4). Each is a plain product of large matrices, and small enough to stay in the cache.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        out = torch.empty_like(value)
        for q, k, v, o in zip(query * scale, key, value, out, strict=True):
            for rows in _blocks(len(q)):
                torch.mm((q[rows] @ k.mT).softmax(-1), v, out=o[rows])
        ctx.save_for_backward(query, key, value, out)
        ctx.scale = scale
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, out = ctx.saved_tensors
        grad = grad.contiguous()
        grads = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        mean = (grad * out).sum(-1, keepdim=True)  # (B, N, 1): sum_j p_ij dp_ij
        images = zip(query * ctx.scale, key, value, grad, mean, *grads, strict=True)
        for q, k, v, g, m, dq, dk, dv in images:
            for rows in _blocks(len(q)):
                p = (q[rows] @ k.mT).softmax(-1)  # (ROWS, N)
                dv.addmm_(p.mT, g[rows])
                dp = (g[rows] @ v.mT).sub_(m[rows]).mul_(p)  # of the scaled products
                torch.mm(dp, k, out=dq[rows])
                dk.addmm_(dp.mT, q[rows])
        return grads[0].mul_(ctx.scale), grads[1], grads[2], None


def _blocks(positions: int) -> list[slice]:
    return [slice(start, start + ROWS) for start in range(0, positions, ROWS)]
