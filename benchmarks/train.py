"""PGD adversarial training here against a plain, careful PyTorch loop and against ART's trainer.

    pip install '.[peers]'
    python benchmarks/train.py [--networks r20 r18 r50] [--iters 10] [--rounds 3] [--device cuda]

All train the same initial network on the same images: an attack with the batch-norm statistics
learnt so far, then one learning step on its images, with Nesterov SGD. The plain loop takes
gradients of the images alone, in PyTorch's own layout and in channels_last. Each side is a process
of its own, as for its users; they take turns. On a CPU the time is the process's own, of all its
threads: other programs do not count as such. The losses of the last step show that all did the
same; ART's trainer tells none.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from noise import noise
from pandas import DataFrame
from table import TABLES, show, write
from torch import nn
from worker import worker

from fdbench.data import Dataset
from fdbench.machine import keep_freed
from fdbench.models import build
from fdbench.specs import ModelSpec, TrainSpec
from fdbench.store import Workspace
from fdbench.training import Training, learner_for
from fdbench.training.loop import learn
from fdbench.training.state import Position
from fdbench.types import Batch

NETWORKS = {  # the specification and the images in a batch
    "r20": (ModelSpec("r20", classes=10, px=32), 128),
    "r18": (ModelSpec("r18", classes=10, px=32), 64),  # width 64, its own
    # PyTorch leaves oneDNN for 1x1 convolutions of fewer than 16 images on one thread: 2.5x slower.
    "r50": (ModelSpec("r50", classes=1000, px=224), 16),
}
EPS, ALPHA = 8 / 255, 2 / 255
Taken = tuple[float, float | None]  # seconds of a step, and its loss
Step = Callable[[], float | None]  # takes a step, returns its loss if it tells it


@dataclass(frozen=True)
class Case:
    """A network, its batch, and the attack's iterations."""

    network: str
    iters: int
    device: torch.device

    @property
    def spec(self) -> TrainSpec:
        """The training's settings; the learning rate is low, so that all sides stay together."""
        return TrainSpec(
            batch_size=NETWORKS[self.network][1], attack_iters=self.iters, eps=EPS, alpha=ALPHA,
            targeted=False, clean_start=1.0, augment=False, lr=1e-4, label_smoothing=0.0,
        )  # fmt: skip

    def data(self) -> Dataset:
        """Two batches of noise."""
        model, count = NETWORKS[self.network]
        return noise(3 * count + 12, model.px, model.classes)

    def ours(self, precision: str) -> Step:
        """fdbench's own step, as `fdbench train` takes it."""
        low = {"precision": precision, "attack_precision": precision}
        spec = TrainSpec(**{**vars(self.spec), **low})
        data, nowhere = self.data(), Workspace(Path("nowhere"))
        model = NETWORKS[self.network][0]
        learner = learner_for(Training("it", model, spec, data, data, nowhere, self.device))
        batches = endless(learner.loader.batches)

        def step() -> float:
            at = Position()
            learn(learner, [next(batches)], at, lambda: None)
            return float(at.sums["loss"]) / learner.loader.batch

        return step

    def plain(self, layout: torch.memory_format) -> Step:
        """The loop that one would write: no library but PyTorch."""
        spec, model = self.spec, NETWORKS[self.network][0]
        net = build(model, seed=spec.seed).to(self.device).to(memory_format=layout)
        optimiser = optimiser_of(net, spec)
        data = self.data()
        reader = learner_for(
            Training("it", model, spec, data, data, Workspace(Path("nowhere")), self.device)
        )
        batches = endless(reader.loader.batches)

        def step() -> float:
            batch = next(batches).to(self.device)
            x = batch.x.contiguous(memory_format=layout)
            adv = attacked(net, x, batch.label, self.iters)
            net.train()
            loss = F.cross_entropy(net(adv), batch.label)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            return loss.item()

        return step

    def art(self) -> Step:
        """The trainer of the Adversarial Robustness Toolbox, on one batch at a time."""
        from art.defences.trainer import AdversarialTrainerMadryPGD
        from art.estimators.classification import PyTorchClassifier

        spec, (model, count) = self.spec, NETWORKS[self.network]
        net, data = build(model, seed=spec.seed).to(self.device), self.data()
        optimiser = torch.optim.SGD(net.parameters(), spec.peak_lr, spec.momentum, nesterov=True)
        classifier = PyTorchClassifier(
            net, loss=nn.CrossEntropyLoss(), input_shape=(3, model.px, model.px),
            nb_classes=model.classes, optimizer=optimiser, clip_values=(0, 1),
            device_type="gpu" if self.device.type == "cuda" else "cpu",
        )  # fmt: skip
        trainer = AdversarialTrainerMadryPGD(
            classifier, nb_epochs=1, batch_size=count, eps=EPS, eps_step=ALPHA,
            max_iter=self.iters, num_random_init=0,
        )  # fmt: skip
        batch = data.fetch(range(count))
        x, label = batch.x.numpy(), np.eye(model.classes, dtype=np.float32)[batch.label.numpy()]

        def step() -> None:
            trainer.fit(x, label)

        return step


def optimiser_of(net: nn.Module, spec: TrainSpec) -> torch.optim.SGD:
    """Nesterov SGD, with weight decay on weights only."""
    groups: list[dict[str, Any]] = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [p for p in net.parameters() if p.ndim == 1]},
    ]
    return torch.optim.SGD(groups, spec.peak_lr, spec.momentum, nesterov=True)


def attacked(net: nn.Module, x: torch.Tensor, label: torch.Tensor, iters: int) -> torch.Tensor:
    """Untargeted linf PGD from the clean images, in inference mode."""
    net.eval()
    adv = x.clone()
    for _ in range(iters):
        adv.requires_grad_()
        loss = F.cross_entropy(net(adv), label, reduction="sum")
        (grad,) = torch.autograd.grad(loss, adv)
        adv = adv.detach() + ALPHA * grad.sign()
        adv = torch.min(torch.max(adv, x - EPS), x + EPS).clamp(0, 1)
    return adv.detach()


def endless(epoch: Callable[[int], Iterator[Batch]]) -> Iterator[Batch]:
    """The batches of one epoch after the other."""
    number = 0
    while True:
        yield from epoch(number)
        number += 1


SIDES: dict[str, Callable[[Case], Step]] = {
    "plain": lambda case: case.plain(torch.contiguous_format),
    "plain, channels_last": lambda case: case.plain(torch.channels_last),
    "fdbench": lambda case: case.ours("fp32"),
    "fdbench, bf16": lambda case: case.ours("bf16"),
    "art": Case.art,
}


def timed(side: str, case: Case, threads: int) -> Callable[[int], Taken]:
    """A side's process: how long a step takes, and its loss."""
    torch.set_num_threads(threads)
    if side.startswith("fdbench"):
        keep_freed()  # as every command does
    step = SIDES[side](case)
    clock = time.process_time if case.device.type == "cpu" else time.perf_counter

    def seconds(number: int) -> Taken:
        began = clock()
        loss = step()  # reading the loss waits for the device
        return clock() - began, loss

    return seconds


def measure(
    case: Case, rounds: int, threads: int, names: list[str]
) -> list[dict[str, str | int | float]]:
    """The lines of a network: one for each side."""
    taken: dict[str, list[Taken]] = {name: [] for name in names}
    with ExitStack() as running:
        sides = {name: running.enter_context(worker(timed, name, case, threads)) for name in names}
        for number in range(rounds + 1):
            for name, ask in sides.items():
                one = ask(number)
                if number:  # the first chooses kernels, and folds
                    taken[name].append(one)
    middle = {name: median(one for one, _ in pairs) for name, pairs in taken.items()}
    model, batch = NETWORKS[case.network]
    return [
        {
            "network": case.network,
            "px": model.px,
            "batch": batch,
            "iters": case.iters,
            "rounds": rounds,
            "side": name,
            "seconds a step": round(middle[name], 4),
            "images a second": round(batch / middle[name], 2),
            "times plain": round(middle["plain"] / middle[name], 3),
            "loss": "" if (loss := taken[name][-1][1]) is None else round(loss, 4),
        }
        for name in names
    ]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Adversarial training against a plain loop.")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--iters", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--output", type=Path, default=TABLES / "train.csv")
    return parser.parse_args()


def main() -> None:
    """Writes a line for each network and side."""
    given = options()
    names = list(dict.fromkeys(["plain", *given.sides]))
    lines: list[dict[str, str | int | float]] = []
    for network in given.networks:
        case = Case(network, given.iters, torch.device(given.device))
        for line in measure(case, given.rounds, given.threads, names):
            show(line)
            lines.append(line)
    write(DataFrame(lines), given.output, given.device)


if __name__ == "__main__":
    main()
