"""Training of the feed-forward attacker: one network that learns to mislead the surrogates."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypedDict

import torch
from jaxtyping import Float32
from torch import Tensor

from fdbench import randomness
from fdbench.attacks import Ensemble, Objective, Painter, load_painter
from fdbench.data import Dataset
from fdbench.files import write_atomically
from fdbench.machine import environment
from fdbench.models import weights_hash
from fdbench.store import Surrogate, Workspace, write_sealed
from fdbench.training.learner import Learner, Lesson
from fdbench.training.loader import Loader
from fdbench.training.state import Identity, Position, plain, refuse_other
from fdbench.types import Batch, Images, Labels, Logits

# The smallest eps in training, as a share of the largest: the competition used 4 to 16.
_SMALLEST = 0.25


def eps_range(largest: float) -> tuple[float, float]:
    """Returns the smallest and the largest eps of a training up to `largest`."""
    return _SMALLEST * largest, largest


class AttackerSettings(TypedDict, total=False):
    """The settings of a GeneratorTraining that a user may choose."""

    epochs: int
    batch_size: int
    lr: float
    limit: int | None
    seed: int


@dataclass(frozen=True)
class GeneratorTraining:
    """A training to run: its surrogates, its data, its settings, and where its weights go."""

    name: str
    surrogates: tuple[Surrogate, ...]
    ensemble: Ensemble
    data: Dataset
    workspace: Workspace
    device: torch.device
    eps: float
    epochs: int = 2
    batch_size: int = 32
    lr: float = 2e-3
    limit: int | None = None
    seed: int = 0

    @property
    def images(self) -> int:
        """How many of the first training images are used."""
        return len(self.data.first(self.limit))

    @property
    def named(self) -> list[dict[str, str]]:
        """The surrogates, as named in card and identity."""
        return [{"ref": one.ref, "weights": one.weights} for one in self.surrogates]

    @property
    def identity(self) -> Identity:
        """The settings that must agree for a training to be resumed."""
        settings = ("eps", "epochs", "batch_size", "lr", "limit", "seed")
        sample = {} if self.data.sample == "first" else {"sample": self.data.sample}
        return plain(
            {
                "surrogates": self.named,
                "shares": self.ensemble.shares,
                "data": self.data.fingerprint,
                **sample,
                **{key: getattr(self, key) for key in settings},
            }
        )


def conviction(logits: Logits, label: Labels) -> Float32[Tensor, " B"]:
    """-log(1 - p) of the label's probability p: large while a network is sure of it, else near 0.

    Unlike the negative cross-entropy it stops rewarding images that are misclassified already.
    """
    label_logit = logits.gather(1, label[:, None])[:, 0]
    others = logits.scatter(1, label[:, None], -torch.inf).logsumexp(1)
    return torch.nn.functional.softplus(label_logit - others)


def _initial(seed: int) -> Painter:
    """Returns weights that depend on `seed` alone; leaves the global generator unchanged."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Painter()


class GeneratorLearner(Learner):
    """Minimises the surrogates' confidence in their predictions on the clean images.

    The last epoch is kept.
    """

    timed = False  # the same settings give the same file, log included
    save_every = 30.0
    rates: ClassVar[Mapping[str, str]] = {"fooled": "fooled"}
    labels: ClassVar[Mapping[str, str]] = {"fooled": "surrogates fooled"}

    def __init__(self, training: GeneratorTraining) -> None:
        self.training = training
        super().__init__(
            training.name,
            weights=training.workspace.attacker(training.name),
            state=training.workspace.unfinished_attacker(training.name),
            device=training.device,
            loader=Loader(
                training.data,
                training.images,
                training.batch_size,
                training.seed,
                "generator-order",
                augment=True,
            ),
            epochs=training.epochs,
        )

    @cached_property
    def net(self) -> Painter:
        """Freshly initialised from the seed."""
        return _initial(self.training.seed).to(self.device)

    @cached_property
    def optimiser(self) -> torch.optim.Adam:
        """Adam with its default betas."""
        return torch.optim.Adam(self.net.parameters(), lr=self.training.lr)

    @property
    def identity(self) -> Identity:
        """See `GeneratorTraining.identity`."""
        return self.training.identity

    def lr_at(self, progress: float) -> float:
        """Cosine decay to zero."""
        return self.training.lr * (1 + math.cos(math.pi * progress)) / 2

    def paint(self, batch: Batch, epoch: int) -> Images:
        """Returns adversarial images, each at its own eps; differentiable."""
        hint = Objective.of(self.training.ensemble, batch, None, lambda: None).gradient(batch.x)
        stream = f"generator-eps-{epoch}"
        unit = randomness.uniform(self.training.seed, stream, batch.ids, ())
        share = _SMALLEST + (1 - _SMALLEST) * torch.from_numpy(unit).to(self.device)
        eps = (self.training.eps * share).float()
        painted = self.net(batch.x, eps, hint.sign())
        return (batch.x + eps[:, None, None, None] * painted).clamp(0, 1)

    def loss(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Lesson:
        """Returns the surrogates' mean conviction, and how many of their predictions changed."""
        ensemble = self.training.ensemble
        label = ensemble.predict(batch.x)
        logits = ensemble.logits(self.paint(batch, at.epoch))
        pairs = zip(ensemble.shares, logits, strict=True)
        loss = torch.stack([share * conviction(one, label).mean() for share, one in pairs]).sum()
        wrong = torch.stack([one.detach().argmax(1) != label for one in logits]).float().mean()
        return Lesson(loss, {"fooled": (wrong * len(batch.ids)).round()})

    def finished(self) -> bool:
        """Returns whether the weights exist: they are only written at the end."""
        if not self.weights.exists():
            return False
        refuse_other(self.identity, load_painter(self.weights)[1]["identity"], self.weights)
        return True

    def finish(self, at: Position) -> None:
        """Writes the weights and their card."""
        training, state = self.training, self.net.state_dict()
        data = training.data
        card = {
            "name": training.name,
            "surrogates": training.named,
            "data": {"name": data.name, "px": data.px, "images": training.images},
            "eps": training.eps,
            "log": at.log,
            "identity": self.identity,
            "environment": environment(training.device),
            "weights": weights_hash(state),
        }
        text = json.dumps(card, indent=1)
        write_sealed(self.weights, state, {"attacker": text})
        write_atomically(self.weights.with_suffix(".json"), text + "\n")
