"""What all trainings of a classifier share: network, optimiser, probe and card."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdbench import randomness
from fdbench.data import Dataset
from fdbench.errors import BadValue
from fdbench.machine import environment
from fdbench.models import Card, build, load_card, save_card, weights_hash
from fdbench.specs import ModelSpec, TrainSpec
from fdbench.store import Workspace
from fdbench.training.learner import Learner, Lesson, Loader
from fdbench.training.state import Entry, Identity, Position, plain, refuse_other
from fdbench.types import Batch, Images
from fdbench.verdict import predict


@dataclass(frozen=True)
class Training:
    """A training to run: its network, its settings, its data, and where its weights go."""

    name: str
    model: ModelSpec
    spec: TrainSpec
    train: Dataset
    held_out: Dataset  # a slice of the training set that selects the epoch; never the test set
    workspace: Workspace
    device: torch.device
    start: Mapping[str, Tensor] | None = None  # the weights to fine-tune; None: drawn

    @property
    def identity(self) -> Identity:
        """The settings that must agree for a checkpoint to be resumed."""
        return plain(
            {
                "model": asdict(self.model),
                "train": asdict(self.spec),
                "data": [self.train.fingerprint, self.held_out.fingerprint],
                **({"start": weights_hash(dict(self.start))} if self.start is not None else {}),
            }
        )


def _optimiser(net: nn.Module, spec: TrainSpec) -> torch.optim.SGD:
    """Nesterov SGD; weight decay on weights only, not on batch norm or biases (released code)."""
    groups: list[dict[str, list[Tensor] | float]] = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [p for p in net.parameters() if p.ndim <= 1]},
    ]
    nesterov = spec.momentum > 0  # torch refuses it without momentum
    return torch.optim.SGD(groups, spec.peak_lr, spec.momentum, nesterov=nesterov)


class NetworkLearner(Learner):
    """Minimises the cross-entropy on the images a subclass makes of each batch."""

    rates: ClassVar[Mapping[str, str]] = {"correct": "train_accuracy"}
    labels: ClassVar[Mapping[str, str]] = {
        "train_accuracy": "train",
        "held_out_clean": "held-out clean",
    }

    def __init__(self, training: Training) -> None:
        self.training = training
        self.spec = training.spec
        spec, images = training.spec, training.train
        super().__init__(
            training.name,
            weights=training.workspace.checkpoint(training.name),
            state=training.workspace.unfinished(training.name),
            device=training.device,
            loader=Loader(
                images, len(images), spec.batch_size, spec.seed, "order", augment=spec.augment
            ),
            epochs=spec.epochs,
        )

    @cached_property
    def net(self) -> nn.Module:
        """Freshly initialised from the seed, or as it starts; channels last."""
        model, start = self.training.model, self.training.start
        net = build(model, seed=self.spec.seed, start=start).to(self.device)
        return net.to(memory_format=torch.channels_last)

    @cached_property
    def optimiser(self) -> torch.optim.SGD:
        """Nesterov SGD, as in the paper."""
        return _optimiser(self.net, self.spec)

    @property
    def identity(self) -> Identity:
        """See `Training.identity`."""
        return self.training.identity

    def lr_at(self, progress: float) -> float:
        """See `TrainSpec.lr_at`."""
        return self.spec.lr_at(progress)

    @abstractmethod
    def images(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Images:
        """Returns the images to train on; may leave the network in inference mode."""

    def loss(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Lesson:
        """Returns the label-smoothed cross-entropy and the count of correct images."""
        x = self.images(batch, at, tick)
        self.net.train()
        if self.training.model.foreign:  # it may have dropout, which draws from this generator
            seed = randomness.integer(self.spec.seed, f"dropout-{at.epoch}", at.step, 2**63)
            torch.manual_seed(seed)
        logits = self.net(x)
        loss = F.cross_entropy(logits, batch.label, label_smoothing=self.spec.label_smoothing)
        return Lesson(loss, {"correct": (logits.detach().argmax(1) == batch.label).sum()})

    def probe(self) -> Entry:
        """Returns the accuracies on the held-out images."""
        held_out = self.training.held_out
        self.net.eval()
        right: Counter[str] = Counter()
        for batch in held_out.batches(range(len(held_out)), self.spec.batch_size):
            right.update(self.count_right(batch.to(self.device)))
        return {name: count / len(held_out) for name, count in right.items()}

    def count_right(self, batch: Batch) -> dict[str, int]:
        """Counts the correctly classified images, by measurement."""
        return {"held_out_clean": int((predict(self.net, batch.x) == batch.label).sum())}

    def score(self, entry: Entry) -> float:
        """Returns the accuracy on clean held-out images."""
        return entry["held_out_clean"]

    def keep(self, at: Position) -> None:
        """Writes the weights with a card that marks them as not final."""
        images, state = self.training.train, self.net.state_dict()
        card = Card(
            name=self.name,
            spec=self.training.model,
            train=self.spec,
            data={
                "name": images.name,
                "classes": images.classes,
                "px": images.px,
                "identity": self.identity,
            },
            epochs=at.epoch,
            log=tuple(at.log),
            environment=environment(self.device),
            weights=weights_hash(state),
        )
        save_card(self.weights, state, card)

    def finished(self) -> bool:
        """Returns whether the card marks the weights as final.

        Raises BadValue for imported weights and those of another training.
        """
        if not self.weights.exists():
            return False
        card = load_card(self.weights)[1]
        if "identity" not in card.data:
            raise BadValue(
                f"{self.weights} was not trained here: it comes from {card.source}.\n"
                "Give this training another --name, or replace those weights with --fresh."
            )
        refuse_other(self.identity, card.data["identity"], self.weights)
        return card.finished

    def finish(self, at: Position) -> None:
        """Marks the kept weights as final and completes the log in their card."""
        state, card = load_card(self.weights)
        save_card(self.weights, state, replace(card, finished=True, log=tuple(at.log)))
