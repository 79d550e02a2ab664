"""What an evaluation will cost, measured on the network before it starts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from fdbench.attacks import cross_entropy, gradient
from fdbench.evaluation.evaluation import Evaluation
from fdbench.machine import generators_kept
from fdbench.store import RunPaths, read_run
from fdbench.types import Batch

TIMED = 32  # images of the timed pass: larger batches are hardly faster per image on a CPU


@dataclass(frozen=True)
class Step:
    """A part of an evaluation: how many images are left, and gradients for each of them."""

    name: str
    images: int
    gradients: float
    at_most: bool = False  # images leave as they break

    def seconds(self, per_gradient: float) -> float:
        """Its time, if one gradient of one image takes `per_gradient` seconds."""
        return self.images * self.gradients * per_gradient


def step_of(evaluation: Evaluation) -> Step:
    """The attack on the images that have no row yet."""
    attack, spec = evaluation.attack, evaluation.spec
    done, ids = _done(evaluation), evaluation.data.ids
    return Step(
        spec.title or attack.name,
        sum(ids[position] not in done for position in evaluation.positions),
        float(attack.cost(spec) * attack.gradients_per_pass),
        at_most=attack.drops_broken,
    )


def _done(evaluation: Evaluation) -> set[int | str]:
    folder = evaluation.folder
    if not RunPaths(folder).description.is_file():
        return set()
    return set(read_run(folder).columns.images.tolist())


def seconds_per_gradient(net: nn.Module, batch: Batch) -> float:
    """Seconds that a forward and a backward pass take for one image, after a pass that warms up."""

    def one_pass() -> float:
        began = time.perf_counter()
        grad, _ = gradient(net, batch.x, batch.label, None, cross_entropy)
        float(grad.sum())  # waits for the device
        return time.perf_counter() - began

    with generators_kept(batch.x.device):
        one_pass()
        return one_pass() / len(batch.ids)


def in_words(seconds: float) -> str:
    """`40 s`, `12 min` or `3 h 20 min`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def announcement(steps: Sequence[Step], per_gradient: float) -> list[str]:
    """A line for each step and their sum, before any of them starts."""
    width = max(len(step.name) for step in steps)
    texts = []
    for step in steps:
        most = "at most " if step.at_most else ""
        left = f"{step.images} images, {most}{step.gradients:.0f} gradients each"
        span = f"{most or 'about '}{in_words(step.seconds(per_gradient))}"
        texts.append(f"  {step.name:<{width}}  {f'{left}: {span}' if step.images else 'done'}")
    total = sum(step.seconds(per_gradient) for step in steps)
    most = "at most " if any(step.at_most and step.images for step in steps) else "about "
    return [*texts, f"  {most}{in_words(total)} in all, at {1000 * per_gradient:.2g} ms a gradient"]
