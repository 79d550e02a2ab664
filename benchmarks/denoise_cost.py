"""What four denoising blocks add to an R-152 at 224 px: time, memory, operations.

    python benchmarks/denoise_cost.py [--batch 4] [--rounds 5]

One attack step (forward and input gradient) of the networks as they are attacked: frozen, batch
norm folded, channels_last. The networks take turns, so that a slow moment of the machine affects
all; the least time of each counts. Memory is the peak of a separate process that does one step,
minus what it held before.
"""

import json
import subprocess
import sys
import time
from unittest.mock import patch

import click
import torch
from pandas import DataFrame, concat
from peak import peak_mb
from table import TABLES, write
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fdbench.attacks import LOSSES, gradient
from fdbench.console import out
from fdbench.models import accelerate, attention, build
from fdbench.specs import ModelSpec

DENOISERS = ("none", "nonlocal-gauss", "nonlocal-dot")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def network(denoise: str, precision: str) -> nn.Module:
    """A network as it is attacked. Zero gammas make the blocks' outputs zero, not their cost."""
    net = build(ModelSpec("r152", denoise)).eval().requires_grad_(False)
    fast, why_not = accelerate(net, torch.rand(2, 3, 224, 224))
    if why_not:
        raise click.ClickException(why_not)
    return fast.to(PRECISIONS[precision])


def step(net: nn.Module, batch: int) -> None:
    x = torch.rand((batch, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    gradient(net, x, torch.zeros(batch, dtype=torch.int64), None, LOSSES["ce"])


def memory(denoise: str, precision: str, batch: int) -> float:
    """MB that a step takes, in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", f"{denoise}/{precision}"]
    command += ["--batch", str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def gflop(denoise: str, backward: bool) -> float:
    """Multiplications and additions for one image, counted from shapes.

    Of the plain formula with its map: the padding of tiles and recomputed rows are not counted.
    Backward, a frozen convolution costs as much as forward; attention, with gradients for three
    inputs, twice as much.
    """
    net = build(ModelSpec("r152", denoise), device=torch.device("meta"))
    x = torch.empty((1, 3, 224, 224), device="meta", requires_grad=backward)
    with patch.object(attention, "MAP_LIMIT", 10**9), FlopCounterMode(display=False) as counter:
        logits = net.eval().requires_grad_(False)(x)
        if backward:
            logits.sum().backward()
    return counter.get_total_flops() / 1e9


def least_seconds(precision: str, batch: int, rounds: int) -> dict[str, float]:
    """The shortest step of each network; they take turns."""
    nets = {denoise: network(denoise, precision) for denoise in DENOISERS}
    least = dict.fromkeys(DENOISERS, float("inf"))
    for turn in range(rounds + 1):
        for denoise, net in nets.items():
            began = time.perf_counter()
            step(net, batch)
            if turn:  # the first warms up
                least[denoise] = min(least[denoise], time.perf_counter() - began)
    return least


def measure(precision: str, batch: int, rounds: int) -> DataFrame:
    """A line for each network, with its ratios to the one without blocks."""
    least = least_seconds(precision, batch, rounds)
    table = DataFrame(
        {
            "network": ModelSpec("r152", denoise).name,
            "precision": precision,
            "batch": batch,
            "ms": 1000 * seconds / batch,  # per image
            "MB": memory(denoise, precision, batch),  # per step
            "GFLOP forward": gflop(denoise, backward=False),  # per image
            "GFLOP step": gflop(denoise, backward=True),
        }
        for denoise, seconds in least.items()
    )
    for quantity in ("ms", "MB", "GFLOP forward", "GFLOP step"):
        table[f"{quantity} ratio"] = table[quantity] / table[quantity][0]
    return table


@click.command()
@click.option("--batch", default=4, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--memory-of", hidden=True)
def main(batch: int, rounds: int, memory_of: str | None) -> None:
    """Cost of the denoising blocks at 224 px."""
    if memory_of:
        net = network(*memory_of.split("/"))
        out.print(peak_mb(lambda: step(net, batch)))
        return
    parts = []
    for precision in PRECISIONS:
        parts.append(measure(precision, batch, rounds).round(3))
        out.print(parts[-1].to_string(index=False), soft_wrap=True)
    write(concat(parts), TABLES / "denoise-cost.csv", "cpu")


if __name__ == "__main__":
    main()
