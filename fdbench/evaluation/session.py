"""One run's part of the loop: a batch's attack, its verdicts, its rows."""

from dataclasses import dataclass

import torch

from fdbench import randomness
from fdbench.attacks import DRAWS, Subject, choose_targets
from fdbench.console import Advance
from fdbench.evaluation.evaluation import Evaluation
from fdbench.evaluation.observation import Facts, Reference, Watched, facts_of
from fdbench.evaluation.readings import Worst, draw_again, rows_of, worst_of
from fdbench.store import (
    BatchScratch,
    Row,
    RunFolder,
    Shard,
    added,
    whole_pixels,
    write_png,
    write_shard,
)
from fdbench.threat import Threat
from fdbench.types import Batch, Labels, Logits
from fdbench.verdict import Referee, logits_of


class _Meter:
    """Reports a batch's passes as progress: at most the batch, and all of it at the end."""

    def __init__(self, advance: Advance, images: int, steps: int) -> None:
        self._images = self._left = float(images)
        self._advance, self._step = advance, images / steps

    def __call__(self, share: float = 1.0, stage: str = "") -> None:
        done = min(self._left, share * self._step)
        self._left -= done
        self._advance(done, **({"stage": stage} if stage else {}))

    def finish(self) -> None:
        self._advance(self._left)
        self._left = 0.0

    def undo(self) -> None:
        self._advance(self._left - self._images)
        self._left = self._images


@dataclass
class Session:
    """What all batches of a session share."""

    evaluation: Evaluation
    net: Watched  # the network to attack
    reference: Reference
    folder: RunFolder
    advance: Advance
    judged: int = 0
    robust: int = 0  # of the judged images: right under every reading

    @property
    def classes(self) -> int:
        return int(self.reference.logits.shape[1])

    def attack(self, cpu: Batch) -> None:
        """Attacks one batch and writes its rows to disk, after any images that are kept."""
        batch = cpu.to(self.evaluation.device)
        cost = self.evaluation.attack.cost(self.evaluation.spec)
        meter = _Meter(self.advance, len(batch.ids), cost)
        try:
            self._attack(batch, meter)
        except BaseException:
            meter.undo()
            raise
        meter.finish()

    def _attack(self, batch: Batch, meter: _Meter) -> None:
        evaluation = self.evaluation
        net, spec = evaluation.model.net, evaluation.spec
        seed, most = evaluation.seed, evaluation.most
        # Before the network is first asked: it may draw random numbers.
        torch.manual_seed(randomness.integer(seed, "network", batch.ids[0], 2**63))
        threat, target = Threat(spec.norm, spec.eps), self._targets(batch)
        judge = Referee(net, batch, threat, most)
        folder = self.folder
        scratch = BatchScratch(folder.paths.scratch(folder.rank), batch.ids, folder.info.key)
        self.net.begin(batch.label)
        subject = Subject(
            self.net, batch, target, threat, seed, judge, meter, self.classes, scratch, most,
            reference=evaluation.precision == "reference",
        )  # fmt: skip
        worst = worst_of(evaluation.attack.run(subject, spec), judge, batch.label, target)
        clean = logits_of(net, batch.x, most)
        rows = rows_of(batch, target, clean.argmax(1), worst, threat)
        if self._draws_numbers(batch, clean):
            draw_again(rows, worst, judge)
        if evaluation.save_adv:
            self._keep(rows, worst, batch)
        # If a kill interrupted this batch, only its missing rows.
        self.folder.append([row for row in rows if row["image"] not in self.folder.done])
        scratch.clear()
        self._observe(facts_of(batch, target, clean, worst))
        self._show(rows)

    def _show(self, rows: list[Row]) -> None:
        """Shows the robust accuracy so far, in this session."""
        self.judged += len(rows)
        self.robust += sum(set(row["pred"].values()) == {row["label"]} for row in rows)
        accuracy = 100 * self.robust / self.judged
        self.advance(0, **{"robust accuracy": f"{accuracy:.1f} % of {self.judged}"})

    def _observe(self, facts: Facts) -> None:
        """Records what the sanity gate judges."""
        known = self.folder.info.found.get("observed", {})
        self.folder.note({"observed": added(known, {**self.net.facts(), **facts})})

    def _draws_numbers(self, batch: Batch, clean: Logits) -> bool:
        """Returns whether the network draws random numbers, and records it with its outputs."""
        known = self.folder.info.found.get("network", {})
        network = {"outputs": self.classes, **known}
        random = self.reference.differs(batch, clean)
        if random is not None:
            network["random"] = random or network.get("random", False)
        if network.get("random"):
            network["draws"] = DRAWS
        if network != known:
            self.folder.note({"network": network})
        return bool(network.get("random"))

    def _targets(self, batch: Batch) -> Labels | None:
        evaluation = self.evaluation
        if not evaluation.spec.targeted:
            return None
        made = evaluation.attack.targets(batch.ids)
        if made is not None:
            return made.to(batch.label.device)
        kind = evaluation.spec.targets
        return choose_targets(
            kind, batch, self.classes, evaluation.seed, evaluation.model.net, evaluation.targets
        )

    def _keep(self, rows: list[Row], worst: dict[str, Worst], batch: Batch) -> None:
        """Writes images before rows, so that a row never names a missing shard."""
        paths = self.folder.paths
        images = {name: reading.adv for name, reading in worst.items()}
        shard = write_shard(paths.images, Shard(batch.ids, images))
        if self.evaluation.save_adv == "png":
            for name, adv in images.items():
                pixels = whole_pixels(adv, batch.x, self.evaluation.spec.eps)
                for image, one in zip(batch.ids, pixels, strict=True):
                    write_png(paths.png(name, image), one)
        for row in rows:
            row["shard"] = shard
