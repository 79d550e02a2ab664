"""Softmax attention over a feature map: each implementation against its limit.

    python benchmarks/attention.py [--rounds 7]

Forward and the gradients of query, key and value, on one thread. The limit is the time of the
products and exponentials alone: forward N^2 (2 D + 2 C) operations and N^2 exponentials, backward
N^2 (6 D + 4 C) and N^2, since the scores are computed again; D = C / 2. Products count at the rate
of this core's best convolution, exponentials at that of the compiled one. Error: the largest of
the output's and the three gradients', against float64 and by norms.
"""

import time
from collections.abc import Callable
from functools import partial

import click
import numpy as np
import torch
import torch.nn.functional as F
from pandas import DataFrame
from table import TABLES, show, write
from torch import Tensor

from fdbench.console import out
from fdbench.models import attention
from fdbench.models.attention_cpu import _compiled, _exp2, attend_on_cpu

Attend = Callable[[Tensor, Tensor, Tensor, float], Tensor]

SIZES = (
    (256, 32),
    (784, 16),
    (784, 128),
    (784, 512),
    (1024, 16),
    (1024, 64),
    (1024, 256),
    (3136, 256),
)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
SCALE = 0.35


SIDES: dict[str, Attend] = {
    "whole map": attention._whole,
    "tiles": attention._tiled,
    "rows": attention._Rows.apply,
    "compiled": attend_on_cpu,
}


def least_seconds(work: Callable[[], object], rounds: int) -> float:
    """The shortest of `rounds`, after one that warms up."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def flops_per_second(rounds: int) -> float:
    """Of a 3x3 convolution of 256 channels, in float32."""
    x, weight = torch.rand(16, 256, 32, 32), torch.rand(256, 256, 3, 3)
    x, weight = (each.to(memory_format=torch.channels_last) for each in (x, weight))
    seconds = least_seconds(lambda: F.conv2d(x, weight, padding=1), rounds)
    return float(2 * 16 * 32 * 32 * 256 * 256 * 9 / seconds)


@_compiled
def exponentials(x: np.ndarray, repeats: int) -> None:
    for _ in range(repeats):
        for j in range(len(x)):
            x[j] = _exp2(x[j] - np.float32(1))


def exponentials_per_second(rounds: int) -> float:
    x = torch.zeros(4096).numpy()
    return 4096 * 256 / least_seconds(lambda: exponentials(x, 256), rounds)


def inputs(positions: int, channels: int, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """Query, key and value of a few images, and the gradient that comes back."""
    rng = torch.Generator().manual_seed(0)
    images = max(2, 16384 // positions)
    shapes = (
        (images, positions, width) for width in (channels // 2, channels // 2, channels, channels)
    )
    *three, grad = (torch.randn(shape, generator=rng).to(dtype) for shape in shapes)
    return [each.requires_grad_() for each in three], grad


def results(attend: Attend, three: list[Tensor], grad: Tensor) -> list[Tensor]:
    """The output and the three gradients."""
    output = attend(three[0], three[1], three[2], SCALE)
    return [output.detach(), *torch.autograd.grad(output, three, grad)]


def error(attend: Attend, three: list[Tensor], grad: Tensor) -> float:
    doubles = [each.detach().double().requires_grad_() for each in three]
    exact = results(attention._whole, doubles, grad.double())
    pairs = zip(results(attend, three, grad), exact, strict=True)
    return max(float((one.double() - other).norm() / other.norm()) for one, other in pairs)


@click.command()
@click.option("--rounds", default=7, show_default=True)
def main(rounds: int) -> None:
    """Milliseconds of attention an image."""
    torch.set_num_threads(1)
    rate, exps = flops_per_second(rounds), exponentials_per_second(rounds)
    out.print(f"products {rate / 1e9:.0f} GFLOP/s, exponentials {1e9 / exps:.3f} ns each")
    lines: list[dict[str, str | int | float]] = []
    for positions, channels in SIZES:
        limit = 10 * channels * positions**2 / rate + 2 * positions**2 / exps
        for precision, dtype in PRECISIONS.items():
            three, grad = inputs(positions, channels, dtype)
            for side, attend in SIDES.items():
                work = partial(results, attend, three, grad)
                seconds = least_seconds(work, rounds) / len(grad)
                line: dict[str, str | int | float] = {"N": positions, "channels": channels}
                line |= {"precision": precision, "side": side, "ms": round(1000 * seconds, 3)}
                line |= {"limit ms": round(1000 * limit, 3), "ratio": round(seconds / limit, 2)}
                lines.append(line | {"error": f"{error(attend, three, grad):.1e}"})
                show(lines[-1])
    write(DataFrame(lines), TABLES / "attention.csv", "cpu")


if __name__ == "__main__":
    main()
