"""Adversarial training, after Xie et al. 2019, Sec. 6 and the released code."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import ClassVar

from torch import nn

from fdbench import randomness, verdict
from fdbench.attacks import draw_targets, last_iterate
from fdbench.models import Folded
from fdbench.specs import AttackSpec, PGDParameters
from fdbench.threat import Threat
from fdbench.training.network import NetworkLearner, Training
from fdbench.training.state import Entry, Position
from fdbench.types import Batch, Images, Labels
from fdbench.verdict import predict


class AdversarialLearner(NetworkLearner):
    """Trains on adversarial images only, made by PGD against the network's current weights.

    The attack uses the running batch-norm statistics and does not update them (paper, released
    code). The epoch is selected by held-out accuracy under PGD.
    """

    labels: ClassVar[Mapping[str, str]] = {**NetworkLearner.labels, "held_out_pgd": "PGD"}
    measures: ClassVar[tuple[str, ...]] = (*NetworkLearner.measures, "held_out_pgd")

    def __init__(self, training: Training) -> None:
        super().__init__(training)
        self.threat = Threat(self.spec.norm, self.spec.eps)
        self.threat.check_steps()
        self.attack_passes = self.spec.attack_iters

    @cached_property
    def folded(self) -> Folded:
        """The attacked copy; `refresh` copies the network's current weights into it."""
        return self._folded(self.net, self.spec.attack_precision)

    @cached_property
    def folded_judged(self) -> Folded:
        """The copy of `judged` that the probe attacks."""
        same = self.judged is self.net and self.spec.attack_precision == "fp32"
        return self.folded if same else self._folded(self.judged, "fp32")

    def _folded(self, net: nn.Module, precision: str) -> Folded:
        example = self.training.train.fetch([0, 1]).to(self.device).x
        return Folded(net.eval(), example, precision=precision)

    def stream(self, at: Position) -> str:
        """Names the random numbers of an epoch's attacks; each image has its own."""
        return f"train-{at.epoch}"

    def begins(self, at: Position) -> bool:
        """Returns whether this is still the share of the training that is on clean images."""
        replays, steps = self.loader.replays, self.loader.steps
        done = at.epoch * steps + at.step // replays * replays
        return done < self.spec.clean_first * self.epochs * steps

    def images(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Images:
        """Returns what `attacked` makes of them; clean images while the training begins."""
        if not self.begins(at):
            return self.attacked(batch, at, tick)
        for _ in range(self.attack_passes):
            tick()
        return batch.x

    def attacked(self, batch: Batch, at: Position, tick: Callable[[], None]) -> Images:
        """Returns adversarial images; PGD starts clean in a share `clean_start` of batches."""
        spec, stream = self.spec, self.stream(at)
        self.folded.refresh()
        draw = randomness.uniform(spec.seed, f"{stream}-clean-start", [at.step], ())[0]
        start = stream if draw >= spec.clean_start else None
        return last_iterate(
            self.folded.net,
            batch,
            self.threat,
            iters=spec.attack_iters,
            alpha=spec.alpha,
            stream=start,
            seed=spec.seed,
            target=self.target(batch, stream),
            tick=lambda share=1.0, stage="": tick(),
        )

    def target(self, batch: Batch, stream: str) -> Labels | None:
        """Draws the target of each image; None where the attack is untargeted."""
        if not self.spec.targeted:
            return None
        classes = self.training.model.classes
        return draw_targets(batch, classes, self.spec.seed, f"{stream}-target")

    def probe(self) -> Entry:
        """Measures clean and PGD accuracy: catastrophic overfitting shows here."""
        self.folded_judged.refresh()
        return super().probe()

    def count_right(self, batch: Batch) -> dict[str, int]:
        """Counts the correct images, both clean and under PGD."""
        robust = predict(self.judged, self._probe_attack(batch)) == batch.label
        return {**super().count_right(batch), "held_out_pgd": int(robust.sum())}

    def _probe_attack(self, batch: Batch) -> Images:
        spec = self.spec
        parameters = PGDParameters(iters=(spec.probe_iters,))
        attack = AttackSpec("pgd", spec.norm, spec.eps, spec.targeted, parameters=parameters)
        adv = last_iterate(
            self.folded_judged.net,
            batch,
            self.threat,
            iters=spec.probe_iters,
            alpha=parameters.step(attack, spec.probe_iters),
            stream="probe",
            seed=spec.seed,
            target=self.target(batch, "probe"),
        )
        verdict.check(adv, batch.x, self.threat)
        return adv

    def score(self, entry: Entry) -> float:
        """PGD accuracy on held-out images."""
        return entry["held_out_pgd"]
