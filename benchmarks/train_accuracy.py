"""Does training here end at the robust accuracy of a plain loop that takes the same steps?

    python benchmarks/train_accuracy.py --data npz:cifar10 [--seeds 0 1] [--images 10000]

A narrow r20 learns the first images of a training set, by fdbench (with `--sides fdbench "fdbench,
bf16"` also in bf16) and by the plain loop of train.py (PyTorch's own layout, nothing folded): the
same initial weights, batches, learning rates and attacks from clean images, for each seed. What
differs is rounding, which training amplifies. Then all are attacked by PGD-20 on the same test
images.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from pandas import DataFrame
from table import TABLES, show, write
from torch import nn
from train import ALPHA, EPS, attacked, optimiser_of

import fdbench
from fdbench.data import Dataset, open_data
from fdbench.machine import keep_freed
from fdbench.models import build
from fdbench.specs import ModelSpec, TrainSpec
from fdbench.stats import paired
from fdbench.store import Workspace
from fdbench.training import Training, learner_for
from fdbench.training.loop import learn
from fdbench.training.network import NetworkLearner
from fdbench.training.state import Position
from fdbench.types import Batch
from fdbench.verdict import predict

MODEL = ModelSpec("r20", width=8, classes=10, px=32)


def learner_of(
    data: Dataset, seed: int, given: argparse.Namespace, precision: str
) -> NetworkLearner:
    """fdbench's own training, whose batches and learning rates the plain loop takes too."""
    spec = TrainSpec(
        epochs=given.epochs, batch_size=64, attack_iters=given.iters, eps=EPS, alpha=ALPHA,
        targeted=False, clean_start=1.0, augment=False, lr=0.4, drops=(0.6, 0.85), seed=seed,
        label_smoothing=0.0, precision=precision, attack_precision=precision,
    )  # fmt: skip
    nowhere = Workspace(Path("nowhere"))
    return learner_for(Training("it", MODEL, spec, data, data, nowhere, torch.device("cpu")))


def steps(learner: NetworkLearner) -> Iterator[tuple[Batch, Position, float]]:
    """Each batch of the training, its position, and the share of the training before it."""
    loader = learner.loader
    for epoch in range(learner.epochs):
        for step, batch in enumerate(loader.batches(epoch)):
            done = epoch * loader.steps + step
            yield batch, Position(epoch=epoch, step=step), done / (learner.epochs * loader.steps)


def ours(learner: NetworkLearner) -> nn.Module:
    """Trained by fdbench."""
    for batch, at, _ in steps(learner):
        learn(learner, [batch], at, lambda: None)
    return learner.net


def plain(learner: NetworkLearner) -> nn.Module:
    """Trained by the plain loop."""
    spec = learner.spec
    net = build(MODEL, seed=spec.seed)
    optimiser = optimiser_of(net, spec)
    for batch, _, done in steps(learner):
        for group in optimiser.param_groups:
            group["lr"] = spec.lr_at(done)
        adv = attacked(net, batch.x, batch.label, spec.attack_iters)
        net.train()
        loss = F.cross_entropy(net(adv), batch.label)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return net


# How each side trains, and the precision of its passes.
SIDES = {"plain": (plain, "fp32"), "fdbench": (ours, "fp32"), "fdbench, bf16": (ours, "bf16")}


def robust(net: nn.Module, test: Dataset, limit: int) -> list[bool]:
    """Which images withstand PGD-20."""
    net.eval().requires_grad_(False)
    right: list[bool] = []
    for batch in test.batches(range(limit), 250):
        adv = fdbench.pgd(net, batch.x, batch.label, eps=EPS, alpha=ALPHA, iters=20)
        right += (predict(net, adv) == batch.label).tolist()
    return right


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Robust accuracy after the same training.")
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--images", type=int, default=10_000, help="of the training set")
    parser.add_argument("--limit", type=int, default=2000, help="test images")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--iters", type=int, default=3, help="of the inner attack")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES)[1:], default=["fdbench"])
    parser.add_argument("--output", type=Path, default=TABLES / "train-accuracy.csv")
    return parser.parse_args()


def main() -> None:
    """Writes a line for each seed and side."""
    given = options()
    torch.set_num_threads(1)
    keep_freed()
    train, test = (open_data(given.data, split) for split in ("train", "test"))
    some = replace(train, ids=train.ids[: given.images], labels=train.labels[: given.images])
    lines = []
    for seed in given.seeds:
        outcomes: dict[str, list[bool]] = {}
        for side in ["plain", *given.sides]:
            trained, precision = SIDES[side]
            began = time.process_time()
            net = trained(learner_of(some, seed, given, precision))
            seconds = time.process_time() - began
            outcomes[side] = robust(net, test, given.limit)
            pair = paired(outcomes[side], outcomes["plain"])
            line = {
                "seed": seed,
                "side": side,
                "images": given.images,
                "epochs": given.epochs,
                "iters": given.iters,
                "PGD-20": round(100 * sum(outcomes[side]) / given.limit, 2),
                "of": given.limit,
                "above plain": round(100 * pair.difference, 2),
                "low": round(100 * pair.interval.low, 2),
                "high": round(100 * pair.interval.high, 2),
                "CPU s": round(seconds, 1),
            }
            show(line)
            lines.append(line)
            write(DataFrame(lines), given.output, "cpu")


if __name__ == "__main__":
    main()
