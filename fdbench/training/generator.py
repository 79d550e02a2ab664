"""Training of the feed-forward attacker: one network that learns to mislead the surrogates.

Every random number of a step (order, augmentation, eps) is a function of the seed, the epoch and
the image, so a position in the training is all the generator state there is.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from fdbench import randomness
from fdbench.attacks import Ensemble, Objective, Painter, load_painter
from fdbench.console import progress
from fdbench.data import Augment, Dataset
from fdbench.errors import FdbenchError
from fdbench.machine import environment
from fdbench.models import weights_hash
from fdbench.store import write_atomically, write_tensors
from fdbench.training.state import load_state, refuse_other, save_state
from fdbench.types import Batch, Images, Labels, Logits

SAVE_EVERY = 30.0  # seconds of work that a kill may cost
# The smallest eps it is trained at, as a share of the largest: the competition asked for 4 to 16.
_SMALLEST = 0.25

Say = Callable[[str], None]


@dataclass(frozen=True)
class Surrogate:
    """A network the generator learns on, as the card names it."""

    ref: str
    weights: str  # sha256


@dataclass(frozen=True)
class GeneratorTraining:
    """One training: against which networks, on which data, and where the weights go."""

    name: str
    surrogates: tuple[Surrogate, ...]
    ensemble: Ensemble
    data: Dataset
    results: Path
    device: torch.device
    eps: float
    epochs: int = 2
    batch_size: int = 32
    lr: float = 2e-3
    limit: int | None = None
    seed: int = 0

    @property
    def weights(self) -> Path:
        return self.results / "attackers" / f"{self.name}.safetensors"

    @property
    def state(self) -> Path:
        return self.results / "attackers" / f"{self.name}.resume"

    @property
    def images(self) -> int:
        """How many of the training images, the first ones, it learns from."""
        return len(self.data.first(self.limit))

    @property
    def batch(self) -> int:
        return min(self.batch_size, self.images)

    @property
    def steps(self) -> int:
        """Batches in an epoch. What is left over after the last full one waits for the next."""
        return self.images // self.batch

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree for a training to be continued, as it looks after a trip to JSON."""
        plain = ("eps", "epochs", "batch_size", "lr", "limit", "seed")
        content = {
            "surrogates": [asdict(one) for one in self.surrogates],
            "shares": self.ensemble.shares,
            "data": self.data.fingerprint,
            **{key: getattr(self, key) for key in plain},
        }
        return dict(json.loads(json.dumps(content)))


@dataclass
class Position:
    """Where a training stands; with weights and Adam's moments, all that resuming needs."""

    epoch: int = 0
    step: int = 0  # batches of this epoch already learnt from
    loss: float = 0.0  # sums over this epoch's images
    fooled: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)


def conviction(logits: Logits, label: Labels) -> Float32[Tensor, " B"]:
    """-log(1 - p) of the label's probability p: large while a network is sure of it, else near 0.

    Unlike the negative cross-entropy it stops rewarding images that are lost already.
    """
    own = logits.gather(1, label[:, None])[:, 0]
    others = logits.scatter(1, label[:, None], -torch.inf).logsumexp(1)
    return torch.nn.functional.softplus(own - others)


def _initial(seed: int) -> Painter:
    """Weights that depend on `seed` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Painter()


class Trainer:
    """The painter that learns, its optimiser, the position."""

    def __init__(self, job: GeneratorTraining) -> None:
        self.job = job
        self.net = _initial(job.seed).to(job.device)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=job.lr)
        self.at = Position()

    @property
    def done(self) -> int:
        """Batches learnt from, over all epochs."""
        return self.at.epoch * self.job.steps + self.at.step

    def save(self) -> None:
        """Replaces the resumable state, whole or not at all."""
        job = self.job
        save_state(job.state, self.net, self.optimiser, job.identity, asdict(self.at))

    def resume(self) -> None:
        """Takes the saved state over. Raises FdbenchError if it is of another training."""
        job = self.job
        self.at = Position(**load_state(job.state, self.net, self.optimiser, job.identity))

    def batches(self) -> Iterator[Batch]:
        """What is left of this epoch, in its order."""
        job, at = self.job, self.at
        order = randomness.permutation(job.seed, f"generator-order-{at.epoch}", job.images)
        left = order[at.step * job.batch : job.steps * job.batch].tolist()
        for batch in job.data.batches(left, job.batch, Augment(job.seed, at.epoch)):
            yield batch.to(job.device)

    def paint(self, batch: Batch) -> Images:
        """Adversarial images, each at an eps of its own; differentiable."""
        job = self.job
        hint = Objective.of(job.ensemble, batch, None, lambda: None).gradient(batch.x).sign()
        unit = randomness.uniform(job.seed, f"generator-eps-{self.at.epoch}", batch.ids, ())
        share = _SMALLEST + (1 - _SMALLEST) * torch.from_numpy(unit).to(job.device)
        eps = (job.eps * share).float()
        return (batch.x + eps[:, None, None, None] * self.net(batch.x, eps, hint)).clamp(0, 1)

    def learn(self, batch: Batch) -> None:
        """One step. Raises FdbenchError, before any weight changes, if the loss is not finite."""
        job, at = self.job, self.at
        label = job.ensemble.predict(batch.x)
        found = job.ensemble.logits(self.paint(batch))
        pairs = zip(job.ensemble.shares, found, strict=True)
        loss = torch.stack([share * conviction(one, label).mean() for share, one in pairs]).sum()
        if not torch.isfinite(loss):
            raise FdbenchError(
                f"training stopped at epoch {at.epoch + 1}, batch {at.step + 1}: the loss is not "
                "finite. Try a smaller --lr."
            )
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        share = self.done / (job.epochs * job.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = job.lr * (1 + math.cos(math.pi * share)) / 2
        self.optimiser.step()
        wrong = torch.stack([one.argmax(1) != label for one in found]).float().mean()
        at.step += 1
        at.loss += loss.item() * len(batch.ids)
        at.fooled += round(wrong.item() * len(batch.ids))

    def close_epoch(self) -> dict[str, Any]:
        """Logs the epoch and moves on to the next; its entry in the log."""
        seen = self.job.steps * self.job.batch
        entry = {
            "epoch": self.at.epoch + 1,
            "loss": self.at.loss / seen,
            "fooled": self.at.fooled / seen,
        }
        self.at = Position(epoch=self.at.epoch + 1, log=[*self.at.log, entry])
        return entry


def train_generator(
    job: GeneratorTraining, *, fresh: bool, say: Say, save_every: float = SAVE_EVERY
) -> Path:
    """The path of the trained weights. The same job again continues, or finds nothing to do.

    Raises FdbenchError if a file of that name belongs to another training, and if the loss stops
    being finite.
    """
    if fresh:
        job.state.unlink(missing_ok=True)
        job.weights.unlink(missing_ok=True)
    if job.weights.exists():
        refuse_other(job.identity, load_painter(job.weights)[1]["identity"], job.weights)
        say(f"{job.weights}: trained already, nothing left to do.")
        return job.weights
    trainer = Trainer(job)
    if job.state.exists():
        trainer.resume()
        say(f"continuing {job.name} at epoch {trainer.at.epoch + 1}, batch {trainer.at.step}")
    else:
        trainer.save()  # a folder that can't be written is known before the work
    total = job.epochs * job.steps * job.batch
    with progress(f"train {job.name}", total, "images", trainer.done * job.batch) as advance:
        while trainer.at.epoch < job.epochs:
            _epoch(trainer, advance, save_every)
            entry = trainer.close_epoch()
            trainer.save()
            say(
                f"epoch {entry['epoch']}/{job.epochs}  loss {entry['loss']:.3f}  "
                f"surrogates fooled {100 * entry['fooled']:.1f} %"
            )
    return _finish(trainer)


def _epoch(trainer: Trainer, advance: Callable[[int], None], save_every: float) -> None:
    saved = time.monotonic()
    for batch in trainer.batches():
        trainer.learn(batch)
        advance(len(batch.ids))
        if time.monotonic() - saved >= save_every:
            trainer.save()
            saved = time.monotonic()


def _finish(trainer: Trainer) -> Path:
    """Writes the weights with their card, and drops the state that only resuming needs."""
    job, state = trainer.job, trainer.net.state_dict()
    card = {
        "name": job.name,
        "surrogates": [asdict(one) for one in job.surrogates],
        "data": {"name": job.data.name, "px": job.data.px, "images": job.images},
        "eps": job.eps,
        "log": trainer.at.log,
        "identity": job.identity,
        "environment": environment(job.device),
        "weights": weights_hash(state),
    }
    text = json.dumps(card, indent=1)
    write_tensors(job.weights, state, {"attacker": text})
    write_atomically(job.weights.with_suffix(".json"), text + "\n")
    job.state.unlink(missing_ok=True)
    return job.weights
