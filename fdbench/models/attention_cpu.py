"""Softmax attention in one pass over the map, compiled for this CPU by Numba (the `numba` extra).

Maps with few channels are bound by writing and reading N x N results between PyTorch's operations.
Here four rows of the map at a time stay in the cache, from their scores to what they add to the
output and to the gradients. Arithmetic is float32 throughout, whatever the inputs are.

Arrays are channels first, so that the innermost loops run over adjacent positions. Channels come in
fours and so do queries, padded with zeros, which add nothing. A product is written out over 4 x 4
rows, which registers hold: over one row at a time it takes half as long again.
"""

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

Array = Float32[np.ndarray, "..."]
Function = TypeVar("Function", bound=Callable[..., Any])

LOG2_E = 1.4426950408889634  # scores are in powers of 2: exp2 needs no division
# Sums may be reordered into vectors. NaN and infinity keep their meaning: a training that diverges
# must show it.
FASTMATH = {"contract", "reassoc"}


def _compiled(function: Function) -> Function:
    """Compiles at the first call, for the processor at hand, and keeps the result on disk."""
    python = inspect.unwrap(function)  # without the shape checks of the tests
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": FASTMATH}
    try:
        return numba.njit(python, cache=True, **options)
    except RuntimeError:  # no folder that Numba may write to
        return numba.njit(python, **options)


@_compiled
def _exp2(x: np.float32) -> np.float32:
    """2^x for x <= 0, to 1e-7 of it; 2^-126 below.

    The integer part goes into the exponent's bits. The polynomial is the minimax one of degree 6 on
    [-1/2, 1/2], by relative error, with p(0) = 1.
    """
    y = max(x, np.float32(-126))
    whole = np.floor(y + np.float32(0.5))
    f = y - whole
    p = np.float32(1.5353362e-4)
    p = p * f + np.float32(1.3398875e-3)
    p = p * f + np.float32(9.6184369e-3)
    p = p * f + np.float32(5.5503324e-2)
    p = p * f + np.float32(2.4022648e-1)
    p = p * f + np.float32(6.9314718e-1)
    p = p * f + np.float32(1)
    return p * np.int32((np.int32(whole) + 127) << 23).view(np.float32)


@_compiled
def _spread(weights: Array, x: Array, out: Array, accumulate: bool) -> None:
    """out[m] = sum_d weights[d, m] x[d], rows of any length; added to out[m] to `accumulate`."""
    for m in range(0, len(out), 4):
        y0, y1, y2, y3 = out[m], out[m + 1], out[m + 2], out[m + 3]
        for d in range(0, len(x), 4):
            w = weights[d : d + 4, m : m + 4]
            a0, a1, a2, a3 = w[0, 0], w[0, 1], w[0, 2], w[0, 3]
            b0, b1, b2, b3 = w[1, 0], w[1, 1], w[1, 2], w[1, 3]
            c0, c1, c2, c3 = w[2, 0], w[2, 1], w[2, 2], w[2, 3]
            d0, d1, d2, d3 = w[3, 0], w[3, 1], w[3, 2], w[3, 3]
            x0, x1, x2, x3 = x[d], x[d + 1], x[d + 2], x[d + 3]
            if accumulate or d > 0:
                for j in range(x.shape[1]):
                    p, q, r, s = x0[j], x1[j], x2[j], x3[j]
                    y0[j] += a0 * p + b0 * q + c0 * r + d0 * s
                    y1[j] += a1 * p + b1 * q + c1 * r + d1 * s
                    y2[j] += a2 * p + b2 * q + c2 * r + d2 * s
                    y3[j] += a3 * p + b3 * q + c3 * r + d3 * s
            else:
                for j in range(x.shape[1]):
                    p, q, r, s = x0[j], x1[j], x2[j], x3[j]
                    y0[j] = a0 * p + b0 * q + c0 * r + d0 * s
                    y1[j] = a1 * p + b1 * q + c1 * r + d1 * s
                    y2[j] = a2 * p + b2 * q + c2 * r + d2 * s
                    y3[j] = a3 * p + b3 * q + c3 * r + d3 * s


@_compiled
def _gather(p: Array, x: Array, out: Array) -> None:
    """out[r, c] = sum_j p[r, j] x[c, j] for four rows r."""
    p0, p1, p2, p3 = p[0], p[1], p[2], p[3]
    for c in range(0, len(x), 4):
        x0, x1, x2, x3 = x[c], x[c + 1], x[c + 2], x[c + 3]
        a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = np.float32(0)
        c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = np.float32(0)
        for j in range(x.shape[1]):
            a, b, y, z = p0[j], p1[j], p2[j], p3[j]
            v = x0[j]
            a0, b0, c0, d0 = a0 + a * v, b0 + b * v, c0 + y * v, d0 + z * v
            v = x1[j]
            a1, b1, c1, d1 = a1 + a * v, b1 + b * v, c1 + y * v, d1 + z * v
            v = x2[j]
            a2, b2, c2, d2 = a2 + a * v, b2 + b * v, c2 + y * v, d2 + z * v
            v = x3[j]
            a3, b3, c3, d3 = a3 + a * v, b3 + b * v, c3 + y * v, d3 + z * v
        out[0, c], out[0, c + 1], out[0, c + 2], out[0, c + 3] = a0, a1, a2, a3
        out[1, c], out[1, c + 1], out[1, c + 2], out[1, c + 3] = b0, b1, b2, b3
        out[2, c], out[2, c + 1], out[2, c + 2], out[2, c + 3] = c0, c1, c2, c3
        out[3, c], out[3, c + 1], out[3, c + 2], out[3, c + 3] = d0, d1, d2, d3


@_compiled
def _largest(x: Array) -> np.float32:
    """Compares floats as integers of the same order: LLVM makes vectors only of those."""
    largest = np.int32(-(2**31) + 1)
    for j in range(len(x)):
        bits = np.float32(x[j]).view(np.int32)
        largest = max(largest, np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF)))
    return np.int32(largest ^ ((largest >> 31) & 0x7FFFFFFF)).view(np.float32)


@_compiled
def _forward(q: Array, k: Array, v: Array, out: Array, top: Array, total: Array, p: Array) -> None:
    """Sums one image's values, each row by 2^(scores - top): q (D, Nq), k (D, N), v (C, N).

    Sets out (Nq, C), which is yet to be divided by `total` (Nq); p (4, N) is scratch.
    """
    for i in range(0, len(out), 4):
        _spread(q[:, i : i + 4], k, p, False)
        for r in range(4):
            row, largest, total_r = p[r], _largest(p[r]), np.float32(0)
            for j in range(len(row)):
                e = _exp2(row[j] - largest)
                row[j] = e
                total_r += e
            top[i + r], total[i + r] = largest, total_r
        _gather(p, v, out[i : i + 4])


@_compiled
def _weigh(p: Array, dp: Array, log_total: Array, mean: Array) -> None:
    """Turns four rows of scores and of dp into the map's and its scores' gradients."""
    for r in range(4):
        p_r, dp_r, log_total_r, mean_r = p[r], dp[r], log_total[r], mean[r]
        for j in range(len(p_r)):
            e = _exp2(p_r[j] - log_total_r)
            p_r[j], dp_r[j] = e, e * (dp_r[j] - mean_r)


@_compiled
def _backward(
    q: Array,
    k: Array,
    v: Array,
    grad: Array,
    log_total: Array,
    mean: Array,
    dq: Array,
    dk: Array,
    dv: Array,
    work: Array,
) -> None:
    """Sets the gradients of one image's scores and values (Dao et al. 2022, Alg. 4).

    Each row of the map is made again from `log_total` (Nq), log2 of its sum. grad (C, Nq); mean
    (Nq) is sum_j p_ij dp_ij; dq (Nq, D), dk (D, N), dv (C, N); work (8, N) is scratch.
    """
    p, dp = work[:4], work[4:]
    dk[:] = 0
    dv[:] = 0
    for i in range(0, len(dq), 4):
        _spread(q[:, i : i + 4], k, p, False)
        _spread(grad[:, i : i + 4], v, dp, False)
        _weigh(p, dp, log_total[i : i + 4], mean[i : i + 4])
        _gather(dp, k, dq[i : i + 4])
        _spread(q[:, i : i + 4].T, dp, dk, True)
        _spread(grad[:, i : i + 4].T, p, dv, True)


def _each_image(kernel: Callable[..., None], scratch: tuple[int, int], *batches: Tensor) -> None:
    """Runs `kernel` on every image's arrays, on as many threads as PyTorch has.

    Each takes the next image when it is free: PyTorch's own threads still spin for a while.
    """
    images = list(zip(*(batch.numpy() for batch in batches), strict=True))
    left, threads = iter(images), min(torch.get_num_threads(), len(images))

    def work_off() -> None:
        work = torch.empty(scratch).numpy()  # aligned to cache lines; stays in its core's cache
        for image in left:
            kernel(*image, work)

    if threads < 2:
        work_off()
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(work_off) for _ in range(threads - 1)]
        work_off()
        for other in others:
            other.result()  # raises what it raised


def _channels_first(x: Tensor, positions: int) -> Tensor:
    """(B, N, C) as float32 (B, C, positions), with zeros up to there and up to a multiple of 4."""
    batch, n, channels = x.shape
    width = channels + -channels % 4
    make = torch.empty if (width, positions) == (channels, n) else torch.zeros
    rows = make(batch, width, positions)
    rows[:, :channels, :n] = x.mT
    return rows


def _attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The output, and log2 of each row's sum for the gradient."""
    batch, n, channels = value.shape
    queries = n + -n % 4
    q = _channels_first(query * (scale * LOG2_E), queries)  # scores are powers of 2
    k, v = _channels_first(key, n), _channels_first(value, n)
    out = torch.empty(batch, queries, v.shape[1])
    top, total = torch.empty(batch, queries), torch.empty(batch, queries)
    _each_image(_forward, (4, n), q, k, v, out, top, total)
    out /= total[..., None]
    return out[:, :n, :channels].to(value.dtype).contiguous(), top + total.log2_()


def _gradients(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    out: Tensor,
    log_total: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of query, key and value."""
    (_, n, channels), width, queries = value.shape, query.shape[2], log_total.shape[1]
    q = _channels_first(query * (scale * LOG2_E), queries)
    k, v, g = _channels_first(key, n), _channels_first(value, n), _channels_first(grad, queries)
    mean = torch.zeros_like(log_total)
    mean[:, :n] = (grad.float() * out.float()).sum(-1)
    dq = torch.empty(len(q), queries, q.shape[1])
    dk, dv = torch.empty_like(k), torch.empty_like(v)
    _each_image(_backward, (8, n), q, k, v, g, log_total, mean, dq, dk, dv)
    return (
        torch.mul(dq[:, :n, :width], scale, out=query.new_empty(query.shape)),
        torch.mul(dk[:, :width].mT, 1 / LOG2_E, out=key.new_empty(key.shape)),
        value.new_empty(value.shape).copy_(dv[:, :channels].mT),
    )


def _shapes(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    batch, n, _ = value.shape
    total = query.new_empty((batch, n + -n % 4), dtype=torch.float32)
    return value.new_empty(value.shape), total


def _gradients_shapes(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, ctx.scale = inputs
    ctx.save_for_backward(query, key, value, *output)


def _differentiate(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    query, key, value, out, log_total = ctx.saved_tensors
    gradients = torch.ops.fdbench.attention_backward
    return *gradients(query, key, value, ctx.scale, out, log_total, grad), None


# Operations of PyTorch's, which torch.compile leaves whole. Not torch.library.custom_op: its first
# call imports the compiler, which takes a second.
_LIBRARY: Any = torch.library.Library("fdbench", "DEF")  # type: ignore[no-untyped-call]
for _name, _computes, _fakes in (
    ("attention", _attention, _shapes),
    ("attention_backward", _gradients, _gradients_shapes),
):
    _LIBRARY.define(_name + torch.library.infer_schema(_computes, mutates_args=()))
    _LIBRARY.impl(_name, _computes, "CPU")
    torch.library.register_fake(f"fdbench::{_name}", _fakes, lib=_LIBRARY)
torch.library.register_autograd(
    "fdbench::attention", _differentiate, setup_context=_keep, lib=_LIBRARY
)


def attend_on_cpu(
    query: Float[Tensor, "B N D"],
    key: Float[Tensor, "B N D"],
    value: Float[Tensor, "B N C"],
    scale: float,
) -> Float[Tensor, "B N C"]:
    """Returns softmax(scale query key^T) value; memory is linear in N."""
    return torch.ops.fdbench.attention(query, key, value, scale)[0]
