"""PGD side by side: fdbench against Foolbox, torchattacks and ART.

    pip install '.[peers]'
    python benchmarks/pgd.py [--rounds 3] [--model r20 --data cifar10 --images 1000]

Each tool's own PGD on the same network, images, labels, eps, alpha, iterations and batch: linf,
untargeted, random start. For speed, which needs no trained weights, each tool has its own process,
as for its users: fdbench's settings of the memory allocator would speed up the others. They take
turns, so that a slow moment of the machine affects all; the least time of each counts. With --model
and --data the tools also attack that network, and the plain float32 network counts its robust
accuracy under each.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np
import torch
from pandas import DataFrame, concat
from table import TABLES, write
from torch import Tensor, nn
from worker import worker

import fdbench
from fdbench.console import out, progress
from fdbench.data import open_data
from fdbench.machine import start_torch
from fdbench.models import build, open_model
from fdbench.specs import ModelSpec
from fdbench.store import Workspace
from fdbench.verdict import predict

EPS, ALPHA = 8 / 255, 2 / 255
# name: network, batch, iterations per call
NETWORKS = {
    "r20, 32 px": (ModelSpec("r20", classes=10, px=32), 128, 20),
    "r18 width 64, 32 px": (ModelSpec("r18", classes=10, px=32), 128, 10),
    "r50, 224 px": (ModelSpec("r50"), 8, 20),
}
Attack = Callable[[nn.Module, Tensor, Tensor, int], Tensor]


def ours(precision: str) -> Attack:
    def attack(net: nn.Module, x: Tensor, label: Tensor, iters: int) -> Tensor:
        return fdbench.pgd(net, x, label, eps=EPS, alpha=ALPHA, iters=iters, precision=precision)

    return attack


def foolbox(net: nn.Module, x: Tensor, label: Tensor, iters: int) -> Tensor:
    from foolbox import PyTorchModel
    from foolbox.attacks import LinfPGD

    model = PyTorchModel(net, bounds=(0, 1), device=x.device)
    attack = LinfPGD(abs_stepsize=ALPHA, steps=iters, random_start=True)
    _, clipped, _ = attack(model, x, label, epsilons=EPS)
    return clipped


def torchattacks(net: nn.Module, x: Tensor, label: Tensor, iters: int) -> Tensor:
    from torchattacks import PGD

    return PGD(net, eps=EPS, alpha=ALPHA, steps=iters, random_start=True)(x, label)


def art(net: nn.Module, x: Tensor, label: Tensor, iters: int) -> Tensor:
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    with torch.no_grad():
        classes = net(x[:1]).shape[1]
    model = PyTorchClassifier(
        net,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(x.shape[1:]),
        nb_classes=classes,
        clip_values=(0, 1),
        device_type="gpu" if x.is_cuda else "cpu",
    )
    attack = ProjectedGradientDescentPyTorch(
        model,
        norm=np.inf,
        eps=EPS,
        eps_step=ALPHA,
        max_iter=iters,
        num_random_init=1,
        batch_size=len(x),
        verbose=False,
    )
    adv = attack.generate(x.cpu().numpy(), label.cpu().numpy())
    return torch.from_numpy(adv).to(x.device)


TOOLS: dict[str, Attack] = {
    "fdbench fp32": ours("fp32"),
    "fdbench bf16": ours("bf16"),
    "foolbox": foolbox,
    "torchattacks": torchattacks,
    "art": art,
}
PEERS = [name for name in TOOLS if not name.startswith("fdbench")]


def call(name: str, device: torch.device) -> Callable[[Attack], float]:
    """Returns a function that times one call of an attack on one of NETWORKS."""
    spec, batch, iters = NETWORKS[name]
    net = build(spec).to(device).eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(0)
    x = torch.rand((batch, 3, spec.px, spec.px), generator=rng).to(device)
    label = torch.randint(spec.classes, (batch,), generator=rng).to(device)

    def seconds(attack: Attack) -> float:
        began = time.perf_counter()
        attack(net, x, label, iters)
        if x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    return seconds


def served(tool: str, device: str) -> Callable[[str], float]:
    """A tool's process: the seconds of one call on a network."""
    chosen = start_torch(device, None) if tool not in PEERS else torch.device(device)
    calls: dict[str, Callable[[Attack], float]] = {}

    def seconds(name: str) -> float:
        if name not in calls:
            calls.clear()
            calls[name] = call(name, chosen)
        return calls[name](TOOLS[tool])

    return seconds


def speed(
    name: str,
    rounds: int,
    workers: dict[str, Callable[[str], float]],
    advance: Callable[[int], None],
) -> DataFrame:
    """A line for each tool: the least time per image and iteration."""
    _, batch, iters = NETWORKS[name]
    least = dict.fromkeys(workers, float("inf"))
    for turn in range(rounds + 1):
        for tool, ask in workers.items():
            seconds = ask(name)
            if turn:  # the first warms up
                least[tool] = min(least[tool], seconds)
            advance(1)
    best = min(least[tool] for tool in PEERS)
    lines = [
        {
            "network": name,
            "batch": batch,
            "iters": iters,
            "tool": tool,
            "ms": 1000 * seconds / batch / iters,  # per image and iteration
            "times the best peer": best / seconds,
        }
        for tool, seconds in least.items()
    ]
    return DataFrame(lines)


def strength(
    ref: str, data: str, images: int, iters: int, results: Path, device: torch.device
) -> DataFrame:
    """A line for each tool: robust accuracy of one network on the same first images."""
    model, dataset = open_model(ref, Workspace(results)), open_data(data, "test")
    net = model.net.to(device)
    right = dict.fromkeys(TOOLS, 0)
    with progress(f"robust accuracy of {model.name}", images * len(TOOLS), "images") as advance:
        for cpu_batch in dataset.batches(range(images), 250):
            batch = cpu_batch.to(device)
            for tool, attack in TOOLS.items():
                adv = attack(net, batch.x, batch.label, iters)
                right[tool] += int((predict(net, adv) == batch.label).sum())
                advance(len(batch.ids))
    return DataFrame(
        {
            "network": model.name,
            "data": data,
            "images": images,
            "iters": iters,
            "tool": tool,
            "robust": 100 * count / images,
        }
        for tool, count in right.items()
    )


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {
        "torchattacks": version("torchattacks"),
        "art": version("adversarial-robustness-toolbox"),
    }


@click.command()
@click.option("--rounds", default=3, show_default=True, help="0: no timing.")
@click.option("--model", "ref", help="Also count the robust accuracy of this network ...")
@click.option("--data", default="cifar10", show_default=True, help="... on this data.")
@click.option("--images", default=1000, show_default=True)
@click.option("--iters", default=20, show_default=True, help="For robust accuracy.")
@click.option("--results", default="results", type=click.Path(path_type=Path))
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda"]))
def main(
    rounds: int, ref: str | None, data: str, images: int, iters: int, results: Path, device: str
) -> None:
    """Speed and strength of PGD in four tools."""
    chosen, tables = start_torch(device, None), dict[str, DataFrame]()
    if rounds:
        calls = (rounds + 1) * len(TOOLS) * len(NETWORKS)
        with progress("timing", calls, "calls") as advance, ExitStack() as running:
            workers = {
                tool: running.enter_context(worker(served, tool, chosen.type)) for tool in TOOLS
            }
            parts = [speed(name, rounds, workers, advance) for name in NETWORKS]
        tables["pgd.csv"] = concat(parts).round(4)
    if ref:
        tables["pgd-strength.csv"] = strength(ref, data, images, iters, results, chosen)
    for name, table in tables.items():
        out.print(table.to_string(index=False), soft_wrap=True)
        write(table, TABLES / name, chosen, **versions())


if __name__ == "__main__":
    main()
