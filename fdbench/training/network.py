"""What all trainings of a classifier share: network, optimiser, probe and card."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fdbench import randomness
from fdbench.data import Dataset, joined
from fdbench.errors import BadValue
from fdbench.machine import environment
from fdbench.models import Card, build, load_card, save_card, weights_hash
from fdbench.specs import ModelSpec, TrainSpec
from fdbench.store import Workspace
from fdbench.training.averaging import follow
from fdbench.training.learner import Learner, Lesson
from fdbench.training.loader import Loader
from fdbench.training.spreading import spread
from fdbench.training.state import Entry, Identity, Position, plain, refuse_other
from fdbench.training.team import ALONE, Team
from fdbench.types import Batch, Images, Logits
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
    extra: Dataset | None = None  # fills a share of each batch

    @property
    def identity(self) -> Identity:
        """The settings that must agree for a checkpoint to be resumed."""
        data = (self.train, self.held_out, self.extra)
        return plain(
            {
                "model": asdict(self.model),
                "train": self.spec.identity,
                "data": [one.fingerprint for one in data if one is not None],
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
    measures: ClassVar[tuple[str, ...]] = ("held_out_clean",)  # what `count_right` counts

    def __init__(self, training: Training) -> None:
        self.training = training
        self.spec = training.spec
        spec, images, extra = training.spec, training.train, training.extra
        super().__init__(
            training.name,
            weights=training.workspace.checkpoint(training.name),
            state=training.workspace.unfinished(training.name),
            device=training.device,
            loader=Loader(
                images if extra is None else joined(images, extra),
                len(images),
                spec.batch_size,
                spec.seed,
                "order",
                augment=spec.augment,
                replays=self.replays(spec),
                extra=0 if extra is None else len(extra),
                share=0.0 if extra is None else spec.extra_share,
            ),
            epochs=spec.epochs,
        )
        self.team = ALONE

    @staticmethod
    def replays(spec: TrainSpec) -> int:
        """Returns how many steps each batch is taken for."""
        return 1

    @cached_property
    def wrapped(self) -> nn.Module:
        """The network as the learning pass calls it; see `join`."""
        return self.net

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

    @cached_property
    def average(self) -> nn.Module | None:
        """The moving average of weights and statistics, if the training keeps one."""
        return copy.deepcopy(self.net).requires_grad_(False) if self.spec.average else None

    @property
    def judged(self) -> nn.Module:
        """The network that is probed and kept."""
        return self.net if self.average is None else self.average

    @property
    def identity(self) -> Identity:
        """See `Training.identity`."""
        return self.training.identity

    def join(self, team: Team) -> None:
        """Wraps the network for the learning pass; attacks go on with the bare one."""
        self.team, self.wrapped = team, spread(self.net, team, self.spec.sync_bn)
        self.converses = self.spec.sync_bn and team.world > 1

    def unsent(self) -> AbstractContextManager[None]:
        """See `Learner.unsent`."""
        wrapped = self.wrapped
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else nullcontext()

    @torch.no_grad()
    def stepped(self, steps: int) -> None:
        """Moves the average; in the beginning faster, so that it forgets the initial weights."""
        if self.average is not None:
            # TensorFlow's rule, as in Gowal et al. 2020: min(decay, (1 + t) / (10 + t)).
            decay = min(self.spec.average, (1 + steps) / (10 + steps))
            follow(self.average, self.net, 1 - decay)

    def lr_at(self, progress: float) -> float:
        """See `TrainSpec.lr_at`."""
        return self.spec.lr_at(progress)

    @abstractmethod
    def images(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Images:
        """Returns the images to train on; may leave the network in inference mode."""

    def loss(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Lesson:
        """Returns the label-smoothed cross-entropy and the count of correct images."""
        if self.training.model.foreign:  # it may have dropout, which draws from this generator
            seed = randomness.integer(self.spec.seed, f"dropout-{at.epoch}", at.step, 2**63)
            torch.manual_seed(seed)
        logits = self.learnt(self.images(batch, at, tick))
        loss = F.cross_entropy(logits, batch.label, label_smoothing=self.spec.label_smoothing)
        return Lesson(loss, {"correct": (logits.detach().argmax(1) == batch.label).sum()})

    def learnt(self, x: Images) -> Logits:
        """Returns the logits of the learning pass: batch norm learns, in the asked precision."""
        self.net.train()
        self.wrapped.train()
        low = self.spec.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            logits: Logits = self.wrapped(x)
        return logits.float()

    def probe(self) -> Entry:
        """Returns the accuracies on the held-out images."""
        held_out, team = self.training.held_out, self.team
        self.judged.eval()
        right = dict.fromkeys(self.measures, 0)
        mine = range(len(held_out))[team.rank :: team.world]
        for batch in held_out.batches(mine, self.spec.batch_size):
            for name, count in self.count_right(batch.to(self.device)).items():
                right[name] += count
        return {name: count / len(held_out) for name, count in team.total(right).items()}

    def count_right(self, batch: Batch) -> dict[str, int]:
        """Counts the correctly classified images, by measurement."""
        return {"held_out_clean": int((predict(self.judged, batch.x) == batch.label).sum())}

    def score(self, entry: Entry) -> float:
        """Returns the accuracy on clean held-out images."""
        return entry["held_out_clean"]

    def enough(self, at: Position) -> str | None:
        """Returns why to end: the held-out accuracy collapsed, or has not risen for long."""
        attacked = self.spec.clean_first * self.epochs  # in epochs; before, robustness is chance
        scores = [self.score(entry) for entry in at.log if entry["epoch"] > attacked]
        if not scores:
            return None
        best = max(scores)
        if scores[-1] < self.spec.collapse * best:
            return f"held-out accuracy fell from {100 * best:.1f} to {100 * scores[-1]:.1f} %"
        waited = len(scores) - 1 - max(at for at, one in enumerate(scores) if one == best)
        if 0 < self.spec.patience <= waited:
            return f"{waited} epochs without a better held-out accuracy"
        return None

    def keep(self, at: Position) -> None:
        """Writes the weights with a card that marks them as not final."""
        images, state = self.training.train, self.judged.state_dict()
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
