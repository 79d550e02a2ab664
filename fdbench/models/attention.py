"""Softmax attention over all positions of a feature map, without the N x N attention map.

Four implementations of one function; the fastest that fits is used. Forward and gradients, one
thread of an AMD EPYC with AVX512-BF16, torch 2.14, milliseconds per image, fp32 / bf16
(benchmarks/attention.py):

      N   channels   whole map      tiles          rows           Numba's
    256         32   0.36 / 0.15    0.38 / 0.47    0.37 / 0.30    0.23 / 0.23
    784         16    6.4 / 1.5      2.0 / 2.1      2.7 / 1.8     0.84 / 0.85
    784        128     12 / 2.9       11 / 8.5      8.5 / 3.4      5.7 / 6.1
    784        512     31 / 7.2       44 / 32        32 / 9.1       30 / 30
   1024         16    8.6 / 2.1      3.7 / 3.2      7.4 / 2.7      1.4 / 1.4
   1024         64     15 / 4.4       10 / 7.4      8.8 / 3.4      4.8 / 4.8
   1024        256     31 / 9.9       36 / 26        27 / 7.9       21 / 22
   3136        256    281 / 91       342 / 246      263 / 71       230 / 229

The whole map is best for few positions; at N = 3136 it would take 39 MB per image in fp32. Numba's
computes in fp32 whatever it is given. With 16 channels and N = 1024 it takes 1.7 times its limit,
which is 168 MFLOP at the 259 GFLOP/s of this core's best convolutions and two million exponentials
at 0.08 ns; PyTorch's tiles take 4.5 times.
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
# Above so many positions and up to so many channels, Numba's is best.
COMPILED = {torch.float32: (128, 64), torch.bfloat16: (256, 32)}
ROWS = 256  # rows of the map at a time; 64 to 784 are within 15 % in fp32


def attend(query: Queries, key: Queries, value: Values, scale: float) -> Values:
    """Returns softmax(scale query key^T) value; above MAP_LIMIT, memory is linear in N."""
    positions, channels = value.shape[1:]
    on_cpu = value.device.type == "cpu"
    above, up_to = COMPILED.get(value.dtype, (0, 0))
    if on_cpu and positions > above and channels <= up_to and (compiled := _compiled()) is not None:
        return compiled(query, key, value, scale)
    if positions <= MAP_LIMIT:
        return _whole(query, key, value, scale)
    if channels < NARROW or not on_cpu:
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


def _whole(query: Queries, key: Queries, value: Values, scale: float) -> Values:
    return (query * scale @ key.mT).softmax(-1) @ value


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
