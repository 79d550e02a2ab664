"""One training: the network that learns, the copy that is attacked, the optimiser, the position.

After Xie et al. 2019, Sec. 6 and the released code. Every random number of a step (order,
augmentation, targets, starts) is a function of the seed, the epoch and the image, so a position in
the training is all the generator state there is.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdbench import randomness, verdict
from fdbench.attacks import cross_entropy, draw_targets, random_start, trajectory
from fdbench.data import Augment, Dataset
from fdbench.errors import FdbenchError
from fdbench.models import Folded, build
from fdbench.specs import AttackSpec, ModelSpec, PGDParameters, TrainSpec
from fdbench.threat import Threat
from fdbench.training.state import load_state, save_state
from fdbench.types import Batch, Images
from fdbench.verdict import predict


@dataclass(frozen=True)
class Training:
    """One training: what, on which data, and where its checkpoints go."""

    name: str
    model: ModelSpec
    spec: TrainSpec
    train: Dataset
    held_out: Dataset  # a slice of the training set: chooses the checkpoint, never the test set
    results: Path
    device: torch.device

    @property
    def weights(self) -> Path:
        return self.results / "checkpoints" / f"{self.name}.safetensors"

    @property
    def state(self) -> Path:
        return self.results / "checkpoints" / f"{self.name}.resume"

    @property
    def batch(self) -> int:
        """Images in a batch: as asked for, or all there are."""
        return min(self.spec.batch_size, len(self.train))

    @property
    def steps(self) -> int:
        """Batches in an epoch. What is left over after the last full one waits for the next."""
        return len(self.train) // self.batch

    @property
    def identity(self) -> dict[str, Any]:
        """What must agree for a checkpoint to be continued, as it looks after a trip to JSON."""
        content = {
            "model": asdict(self.model),
            "train": asdict(self.spec),
            "data": [self.train.fingerprint, self.held_out.fingerprint],
        }
        return dict(json.loads(json.dumps(content)))


@dataclass
class Position:
    """Where a training stands; with weights and momentum, all that resuming needs."""

    epoch: int = 0
    step: int = 0  # batches of this epoch already learnt from
    loss: float = 0.0  # sums over this epoch's batches
    correct: int = 0
    seconds: float = 0.0
    best: float = -1.0  # the chosen epoch's accuracy on held-out images
    log: list[dict[str, Any]] = field(default_factory=list)


def _optimiser(net: nn.Module, spec: TrainSpec) -> torch.optim.SGD:
    """Nesterov SGD; weight decay on weights only, not on batch norm or biases (released code)."""
    groups: list[dict[str, Any]] = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": spec.weight_decay},
        {"params": [p for p in net.parameters() if p.ndim == 1]},
    ]
    return torch.optim.SGD(groups, lr=spec.peak_lr, momentum=spec.momentum, nesterov=True)


class Trainer:
    """The network that learns, the folded copy that is attacked, the optimiser, the position."""

    def __init__(self, job: Training) -> None:
        self.job = job
        self.net = build(job.model, seed=job.spec.seed).to(job.device)
        self.net = self.net.to(memory_format=torch.channels_last)
        self.at = Position()
        self.threat = Threat(job.spec.norm, job.spec.eps)
        self.optimiser = _optimiser(self.net, job.spec)
        example = job.train.fetch([0, 1]).to(job.device).x
        self.folded = Folded(self.net.eval(), example)

    def save(self) -> None:
        """Replaces the resumable state, whole or not at all."""
        job = self.job
        save_state(job.state, self.net, self.optimiser, job.identity, asdict(self.at))

    def resume(self) -> None:
        """Takes the saved state over. Raises FdbenchError if it is of another training."""
        job = self.job
        self.at = Position(**load_state(job.state, self.net, self.optimiser, job.identity))

    def adversaries(self, batch: Batch, tick: Callable[[], None]) -> Images:
        """What the network learns from: 100 % adversarial images, made against its present self.

        The attack sees running batch-norm statistics and updates none (paper, released code).
        """
        spec, at = self.job.spec, self.at
        if spec.clean:
            return batch.x
        self.folded.refresh()
        stream = f"train-{at.epoch}"
        draw = randomness.uniform(spec.seed, f"{stream}-clean-start", [at.step], ())[0]
        start = batch.x
        if draw >= spec.clean_start:
            start = random_start(batch.ids, batch.x, self.threat, stream, spec.seed)
        return self._attack(batch, start, spec.attack_iters, spec.alpha, stream, tick)

    def _attack(
        self,
        batch: Batch,
        start: Images,
        iters: int,
        alpha: float,
        stream: str,
        tick: Callable[[], None],
    ) -> Images:
        spec = self.job.spec
        target = None
        if spec.targeted:
            target = draw_targets(batch, self.job.model.classes, spec.seed, f"{stream}-target")
        path = trajectory(
            self.folded.net,
            batch.x,
            batch.label,
            self.threat,
            budgets=[iters],
            alpha=alpha,
            start=start,
            target=target,
            loss=cross_entropy,
            tick=lambda share=1.0: tick(),
        )
        return path.iterates[iters]

    def learn(self, batch: Batch, tick: Callable[[], None]) -> None:
        """One step. Raises FdbenchError, before any weight changes, if the loss is not finite."""
        spec, at = self.job.spec, self.at
        adv = self.adversaries(batch, tick)
        self.net.train()
        logits = self.net(adv)
        loss = F.cross_entropy(logits, batch.label, label_smoothing=spec.label_smoothing)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._refuse_nonfinite(loss)
        share = (at.epoch * self.job.steps + at.step) / (spec.epochs * self.job.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = spec.lr_at(share)
        self.optimiser.step()
        at.step += 1
        at.loss += loss.item() * len(batch.ids)
        at.correct += int((logits.argmax(1) == batch.label).sum())

    def _refuse_nonfinite(self, loss: Tensor) -> None:
        grads = [p.grad for p in self.net.parameters() if p.grad is not None]
        size = torch.nn.utils.get_total_norm(grads)
        if not torch.isfinite(loss.detach() + size):
            raise FdbenchError(
                f"training stopped at epoch {self.at.epoch + 1}, batch {self.at.step + 1}: "
                f"the loss ({loss.item():g}) or its gradient ({size.item():g}) is not finite.\n"
                f"The last good weights stay in {self.job.weights.parent}. Try a smaller --lr."
            )

    def batches(self) -> Iterator[Batch]:
        """What is left of this epoch, in its order."""
        spec, at = self.job.spec, self.at
        order = randomness.permutation(spec.seed, f"order-{at.epoch}", len(self.job.train))
        size = self.job.batch
        left = order[at.step * size : self.job.steps * size].tolist()
        augment = Augment(spec.seed, at.epoch) if spec.augment else None
        for batch in self.job.train.batches(left, size, augment):
            yield batch.to(self.job.device)

    def probe(self) -> dict[str, float]:
        """Clean and PGD accuracy on held-out images: catastrophic overfitting shows here."""
        spec = self.job.spec
        self.net.eval()
        self.folded.refresh()
        right = robust = 0
        everything = range(len(self.job.held_out))
        for cpu_batch in self.job.held_out.batches(everything, spec.batch_size):
            batch = cpu_batch.to(self.job.device)
            right += int((predict(self.net, batch.x) == batch.label).sum())
            if not spec.clean:
                adv = self._probe_attack(batch)
                robust += int((predict(self.net, adv) == batch.label).sum())
        found = {"held_out_clean": right / len(everything)}
        return found if spec.clean else {**found, "held_out_pgd": robust / len(everything)}

    def _probe_attack(self, batch: Batch) -> Images:
        spec = self.job.spec
        attack = AttackSpec(norm=spec.norm, eps=spec.eps, targeted=spec.targeted)
        own = PGDParameters()
        start = random_start(batch.ids, batch.x, self.threat, "probe", spec.seed)
        alpha = own.step(attack, spec.probe_iters)
        adv = self._attack(batch, start, spec.probe_iters, alpha, "probe", lambda: None)
        verdict.check(adv, batch.x, self.threat)
        return adv
