"""How near the momentum attack on an ensemble comes to its limit: its surrogates' bare passes.

    python benchmarks/ensemble.py [--iters 10] [--rounds 5] [--batch 100] [--device cuda]

The limit is the sum, over the surrogates, of a forward pass and an input gradient per iteration.
Both sides go through the same accelerated float32 networks on the same images; the weights are
random, which changes no cost. They take turns, so that a slow moment of the machine affects both;
medians count. The attack's time includes its clean prediction: one forward pass of each network
before the first iteration.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from pandas import DataFrame
from table import TABLES, show, write

from fdbench.attacks import Ensemble, craft
from fdbench.errors import FdbenchError
from fdbench.machine import keep_freed
from fdbench.models import accelerate, build
from fdbench.specs import ModelSpec
from fdbench.threat import Threat
from fdbench.types import Batch

PX = 32
_R20, _WIDE = ModelSpec("r20", classes=10, px=PX), ModelSpec("r20", width=32, classes=10, px=PX)
ENSEMBLES = {  # the networks of each
    "one": (_R20,),
    "two": (_R20, _WIDE),
    "four": (
        _R20,
        _WIDE,
        ModelSpec("r20", "nonlocal-gauss", classes=10, px=PX),
        ModelSpec("r20", "mean", classes=10, px=PX),
    ),
}
THREAT = Threat("linf", 8 / 255)


def surrogates(name: str, batch: Batch) -> Ensemble:
    """The networks as the attackers of a set use them: BN folded, frozen."""
    nets = []
    for spec in ENSEMBLES[name]:
        net = build(spec, device=str(batch.x.device)).eval().requires_grad_(False)
        fast, why_not = accelerate(net, batch.x[:2])
        if why_not:
            raise FdbenchError(why_not)
        nets.append(fast)
    return Ensemble(tuple(nets), (1.0,) * len(nets))


def bare(ensemble: Ensemble, batch: Batch, iters: int) -> None:
    """The passes that every gradient attack on these networks needs."""
    for _ in range(iters):
        for net in ensemble.nets:
            leaf = batch.x.detach().requires_grad_()
            loss = F.cross_entropy(net(leaf), batch.label, reduction="sum")
            torch.autograd.grad(loss, leaf)


def attack(ensemble: Ensemble, batch: Batch, iters: int) -> None:
    """The momentum attack as used to make sets."""
    craft("momentum", ensemble, batch, THREAT, {"iters": iters}, seed=0)


SIDES: dict[str, Callable[[Ensemble, Batch, int], None]] = {"bare": bare, "fdbench": attack}


def times(ensemble: Ensemble, batch: Batch, iters: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of an iteration of each side; they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in SIDES}
    for turn in range(rounds + 1):
        for name, run in SIDES.items():
            began = time.perf_counter()
            run(ensemble, batch, iters)
            if batch.x.is_cuda:
                torch.cuda.synchronize()
            if turn:  # the first chooses kernels
                taken[name].append(1000 * (time.perf_counter() - began) / iters)
    return {name: median(values) for name, values in taken.items()}


def measure(
    name: str, device: str, images: int, iters: int, rounds: int
) -> dict[str, str | int | float]:
    """A line of the table."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand((images, 3, PX, PX), generator=rng).to(device)
    label = torch.zeros(images, dtype=torch.int64, device=device)
    batch = Batch(x, label, tuple(range(images)))
    ms = times(surrogates(name, batch), batch, iters, rounds)
    return {
        "surrogates": ", ".join(spec.name for spec in ENSEMBLES[name]),
        "px": PX,
        "batch": images,
        "iters": iters,
        "rounds": rounds,
        "bare ms": round(ms["bare"], 3),  # per iteration of the batch, all networks
        "fdbench ms": round(ms["fdbench"], 3),
        "of the limit": round(ms["bare"] / ms["fdbench"], 3),
    }


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="The momentum attack against bare passes.")
    parser.add_argument("--iters", type=int, default=10)  # the method's own (Dong et al. 2018)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--ensembles", nargs="+", choices=ENSEMBLES, default=list(ENSEMBLES))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--output", type=Path, default=TABLES / "ensemble.csv")
    return parser.parse_args()


def main() -> None:
    """Writes a line for each ensemble."""
    given = options()
    keep_freed()  # as every command of fdbench does; both sides gain
    lines = []
    for name in given.ensembles:
        lines.append(measure(name, given.device, given.batch, given.iters, given.rounds))
        show(lines[-1])
    write(DataFrame(lines), given.output, given.device)


if __name__ == "__main__":
    main()
