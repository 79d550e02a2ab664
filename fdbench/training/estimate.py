"""How long a training will take, from a few measured steps; and on many GPUs, by a formula."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from fdbench.training.loader import shares
from fdbench.training.loop import learn
from fdbench.training.network import NetworkLearner
from fdbench.training.state import Position
from fdbench.training.team import ALONE
from fdbench.types import Batch

PLANS = (8, 32, 128)  # processes; the paper had 128
BANDWIDTH = 12.5e9  # bytes per second between machines: 100 Gbit/s
_STEPS = 3  # measured, after one that is not
_PROBED = 64  # held-out images measured, at most
_FEW = 2  # images that say how many can be measured
_PATIENCE = 60.0  # seconds, about, that each measurement may take


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
        images: of the batch that were measured; fewer where the whole step takes too long.
    """

    step: float
    probe: float
    steps: int
    epochs: int
    batch: int
    parameters: int
    images: int

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
        if self.images < self.batch:
            measured += f"; from {self.images} of the {self.batch} images, as a step takes too long"
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
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()
    return time.perf_counter() - began


def _step(learner: NetworkLearner, at: Position, accumulate: int) -> tuple[float, int]:
    """Seconds of a step at this position of the training, and the images that it was measured on.

    A few images, warm where that is quick, say whether the whole batch can be waited for: one step
    of an R-152 takes hours on a CPU. If not, a part of a piece stands for all; what does not grow
    with the images, such as the optimiser's step, then counts too often.
    """
    loader = learner.loader
    stream = loader.pieces(0, 0, ALONE, accumulate)

    def some(pieces: Sequence[Batch]) -> float:
        return _timed(lambda: learn(learner, pieces, replace(at), _no_tick), learner.device)

    def whole() -> list[Batch]:
        pieces = list(itertools.islice(stream, accumulate))
        return pieces or list(loader.pieces(0, 0, ALONE, accumulate))

    first = whole()
    few = first[0].part(slice(0, _FEW))
    cold = some([few])  # chooses kernels
    one = (some([few]) if cold < _PATIENCE / 4 else cold) / len(few.ids)  # of an image
    if one * loader.batch * (1 + _STEPS) <= _PATIENCE:
        some(first)
        return min(some(whole()) for _ in range(_STEPS)), loader.batch
    affordable = int(_PATIENCE / 2 / one)
    if affordable > 2 * _FEW:
        few = first[0].part(slice(0, affordable))
        one = min(some([few]) for _ in range(2)) / len(few.ids)
    return one * loader.batch, len(few.ids)


def _probe(learner: NetworkLearner) -> float:
    """Seconds to measure all held-out images, from a few of them."""
    held_out = learner.training.held_out
    whole = learner.training

    def of(count: int) -> float:
        some = replace(held_out, ids=held_out.ids[:count], labels=held_out.labels[:count])
        learner.training = replace(whole, held_out=some)
        return _timed(learner.probe, learner.device) * len(held_out) / count

    few, many = min(_FEW, len(held_out)), min(_PROBED, len(held_out))
    seconds = of(few)
    return of(many) if seconds * many / len(held_out) <= _PATIENCE else seconds


def estimate(learner: NetworkLearner, accumulate: int = 1) -> Estimate:
    """Takes a few steps of a training and measures a few held-out images; writes nothing."""
    loader, clean = learner.loader, learner.spec.clean_first
    shares(loader.batch, accumulate)
    last = Position(epoch=learner.epochs - 1, step=loader.steps - loader.replays)
    seconds, images = _step(learner, last, accumulate)
    if clean:
        seconds = (1 - clean) * seconds + clean * _step(learner, Position(), accumulate)[0]
    parameters = sum(p.numel() for p in learner.net.parameters())
    probe = _probe(learner)
    return Estimate(seconds, probe, loader.steps, learner.epochs, loader.batch, parameters, images)


def _no_tick() -> None:
    """Nothing shows the progress."""
