"""How long a training will take, from a few measured steps; and on many GPUs, by a formula."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from fdbench.training.loader import shares
from fdbench.training.loop import learn
from fdbench.training.network import NetworkLearner
from fdbench.training.state import Position
from fdbench.training.team import ALONE

PLANS = (8, 32, 128)  # processes; the paper had 128
BANDWIDTH = 12.5e9  # bytes per second between machines: 100 Gbit/s
_STEPS = 3  # measured, after one that is not
_PROBED = 64  # held-out images measured, at most


@dataclass(frozen=True)
class Estimate:
    """What was measured here, and what follows.

    Attributes:
        step: seconds of one step on the whole batch, the mean over the training.
        probe: seconds to measure all held-out images once.
        steps: of one epoch.
        epochs: of the training.
        batch: images of a step.
        parameters: of the network.
    """

    step: float
    probe: float
    steps: int
    epochs: int
    batch: int
    parameters: int

    @property
    def hours(self) -> float:
        """Of the whole training, in one process here."""
        return self.epochs * (self.steps * self.step + self.probe) / 3600

    def hours_on(self, processes: int) -> float:
        """Of the whole training in that many processes, each as fast as this one was.

        epochs (steps (step / n + 2 (n - 1) / n 4 P / BANDWIDTH) + probe / n): the second term is a
        ring's way of adding up the gradients of P parameters in float32, none of it hidden behind
        computing. The time per image is taken as the same for the smaller share.
        """
        n = processes
        sums = 2 * (n - 1) / n * 4 * self.parameters / BANDWIDTH
        return self.epochs * (self.steps * (self.step / n + sums) + self.probe / n) / 3600

    def lines(self) -> list[str]:
        """The estimate as text: measured, then planned."""
        speed = self.batch / self.step
        measured = (
            f"measured here: {self.step:.3g} s a step of {self.batch} images ({speed:.3g} "
            f"images/s), {self.probe:.3g} s for the held-out images"
        )
        total = f"{self.epochs} epochs of {self.steps} steps in one process: {_hours(self.hours)}"
        fitting = [n for n in PLANS if n <= self.batch]
        plan = [f"in {n} processes: {_hours(self.hours_on(n))}" for n in fitting]
        rule = (
            "plan: epochs x (steps x (step / n + 2 (n - 1) / n x 4 bytes x "
            f"{self.parameters} parameters / {BANDWIDTH / 1e9:g} GB/s) + held-out / n), each "
            "process on a device of its own that is as fast as this one"
        )
        return [measured, total, *plan, *([rule] if plan else [])]


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{60 * hours:.3g} minutes"
    return f"{hours:.3g} hours" + (f" ({hours / 24:.2g} days)" if hours >= 48 else "")


def _timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds that it takes, the device's own work included."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _step(learner: NetworkLearner, at: Position, accumulate: int) -> float:
    """Seconds of a step at this position of the training."""
    loader = learner.loader
    stream = loader.pieces(0, 0, ALONE, accumulate)

    def step() -> None:
        pieces = list(itertools.islice(stream, accumulate))
        pieces = pieces or list(loader.pieces(0, 0, ALONE, accumulate))
        learn(learner, pieces, replace(at), _no_tick)

    step()
    return min(_timed(step, learner.device) for _ in range(_STEPS))


def estimate(learner: NetworkLearner, accumulate: int = 1) -> Estimate:
    """Takes a few steps of a training and measures a few held-out images; writes nothing."""
    loader, clean = learner.loader, learner.spec.clean_first
    shares(loader.batch, accumulate)
    last = Position(epoch=learner.epochs - 1, step=loader.steps - loader.replays)
    seconds = _step(learner, last, accumulate)
    if clean:
        seconds = (1 - clean) * seconds + clean * _step(learner, Position(), accumulate)
    held_out = learner.training.held_out
    count = min(_PROBED, len(held_out))
    some = replace(held_out, ids=held_out.ids[:count], labels=held_out.labels[:count])
    learner.training = replace(learner.training, held_out=some)
    probe = _timed(learner.probe, learner.device) * len(held_out) / count
    parameters = sum(p.numel() for p in learner.net.parameters())
    return Estimate(seconds, probe, loader.steps, learner.epochs, loader.batch, parameters)


def _no_tick() -> None:
    """Nothing shows the progress."""
