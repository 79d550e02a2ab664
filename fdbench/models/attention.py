"""Softmax attention over all positions of a feature map, without the N x N attention map.

Four implementations of one function; the fastest that fits is used. Forward and gradients, one
thread of an AMD EPYC with AVX512-BF16, torch 2.14, milliseconds per image, fp32 / bf16:

      N   channels   whole map    tiles        rows        Numba's
    256        32   0.36 / 0.12  0.38 / 0.47  0.37 / 0.29  0.21 / 0.21
    784        16    6.2 / 3.4    2.0 / 2.0    2.7 / 1.8   0.85 / 0.87
    784       128    8.2 / 2.4     12 / 8.6    8.7 / 3.3    5.9 / 5.8
    784       512     28 / 7.0     44 / 31      33 / 9.5     27 / 27
   1024        16     11 / 4.5    3.7 / 3.1    7.3 / 2.6    1.4 / 1.4
   1024        64     13 / 2.7     10 / 7.8    9.0 / 3.6    4.9 / 4.9
   1024       256     26 / 6.6     38 / 27      28 / 8.0     22 / 23
   3136       256    290 / 95     360 / 250    280 / 78     240 / 240

The whole map is best for few positions; at N = 3136 it would take 39 MB per image in fp32. Numba's
computes in fp32 whatever it is given. With 16 channels it takes 1.7 times its limit: 168 MFLOP at
the 251 GFLOP/s of this core's best convolutions and 2 million exponentials at 0.09 ns, 0.84 ms.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Queries = Float[Tensor, "B N D"]
Values = Float[Tensor, "B N C"]

MAP_LIMIT = 256  # above this N, no N x N map is built
NARROW = 64  # below this many channels, tiles beat rows
COMPILED = {torch.float32: 64, torch.bfloat16: 32}  # up to so many channels, Numba's is best
ROWS = 256  # rows of the map at a time; 64 to 784 are within 15 % in fp32


def attend(query: Queries, key: Queries, value: Values, scale: float) -> Values:
    """Returns softmax(scale query key^T) value; above MAP_LIMIT, memory is linear in N."""
    positions, channels = value.shape[1:]
    if positions <= MAP_LIMIT:
        return (query * scale @ key.mT).softmax(-1) @ value
    if value.device.type != "cpu":
        return _tiled(query, key, value, scale)
    compiled = _compiled() if channels <= COMPILED.get(value.dtype, 0) else None
    if compiled is not None:
        return compiled(query, key, value, scale)
    if channels < NARROW:
        return _tiled(query, key, value, scale)
    return _Rows.apply(query, key, value, scale)


@cache
def _compiled() -> Callable[[Queries, Queries, Values, float], Values] | None:
    """Imported when used: Numba takes half a second, and is an extra."""
    try:
        from fdbench.models.attention_cpu import attend_on_cpu
    except ImportError:  # not installed, or for another NumPy
        return None
    return attend_on_cpu


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
