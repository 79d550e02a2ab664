"""Adversarial training, after Xie et al. 2019, Sec. 6 and the released code."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import ClassVar

from fdbench import randomness, verdict
from fdbench.attacks import LOSSES, draw_targets, random_start, trajectory
from fdbench.models import Folded
from fdbench.specs import AttackSpec
from fdbench.threat import Threat
from fdbench.training.network import NetworkLearner, Training
from fdbench.training.state import Entry, Position
from fdbench.types import Batch, Images
from fdbench.verdict import predict


class AdversarialLearner(NetworkLearner):
    """Learns from adversarial images only, made by PGD against the network's current weights.

    The attack uses the running batch-norm statistics and does not update them (paper, released
    code). The epoch is selected by held-out accuracy under PGD.
    """

    labels: ClassVar[Mapping[str, str]] = {**NetworkLearner.labels, "held_out_pgd": "PGD"}

    def __init__(self, training: Training) -> None:
        super().__init__(training)
        self.threat = Threat(self.spec.norm, self.spec.eps)
        self.attack_passes = self.spec.attack_iters

    @cached_property
    def folded(self) -> Folded:
        """The copy that is attacked; `refresh` gives it the network's current weights."""
        example = self.training.train.fetch([0, 1]).to(self.device).x
        return Folded(self.net.eval(), example)

    def images(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Images:
        """Adversarial images; for a share `clean_start` of batches PGD starts at the clean one."""
        spec, stream = self.spec, f"train-{at.epoch}"
        self.folded.refresh()
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
        target = None
        if self.spec.targeted:
            classes = self.training.model.classes
            target = draw_targets(batch, classes, self.spec.seed, f"{stream}-target")
        path = trajectory(
            self.folded.net,
            batch.x,
            batch.label,
            self.threat,
            budgets=[iters],
            alpha=alpha,
            start=start,
            target=target,
            loss=LOSSES["ce"],
            tick=lambda share=1.0: tick(),
        )
        return path.iterates[iters]

    def probe(self) -> Entry:
        """Accuracy on clean images and under PGD: catastrophic overfitting shows here."""
        self.folded.refresh()
        return super().probe()

    def count_right(self, batch: Batch) -> dict[str, int]:
        """Both on clean images and under PGD."""
        robust = predict(self.net, self._probe_attack(batch)) == batch.label
        return {**super().count_right(batch), "held_out_pgd": int(robust.sum())}

    def _probe_attack(self, batch: Batch) -> Images:
        spec = self.spec
        attack = AttackSpec(norm=spec.norm, eps=spec.eps, targeted=spec.targeted)
        start = random_start(batch.ids, batch.x, self.threat, "probe", spec.seed)
        alpha = attack.step(spec.probe_iters)
        adv = self._attack(batch, start, spec.probe_iters, alpha, "probe", lambda: None)
        verdict.check(adv, batch.x, self.threat)
        return adv

    def score(self, entry: Entry) -> float:
        """PGD accuracy on held-out images."""
        return entry["held_out_pgd"]
