"""One attack on one model over some images: its settings, and their description in run.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from fdbench.attacks import Attack, Draws, given
from fdbench.data import Dataset
from fdbench.errors import BadValue
from fdbench.machine import environment
from fdbench.models import Model, logits_of
from fdbench.randomness import ImageId
from fdbench.specs import AttackSpec
from fdbench.store import DataInfo, ModelInfo, RunInfo, Workspace, targets_digest
from fdbench.types import Batch, Logits

BATCH = 250  # images, where memory allows: larger batches are no faster on a CPU


@dataclass(frozen=True)
class Evaluation:
    """One attack on one model over the first `limit` images of a data set."""

    model: Model
    data: Dataset
    attack: Attack
    spec: AttackSpec
    workspace: Workspace
    device: torch.device
    seed: int = 0
    limit: int | None = None
    batch_size: int | None = None  # None: BATCH, or what memory allows
    precision: str = "fp32"
    compile: bool = False
    save_adv: str | None = None  # one of specs.SAVE
    targets: Mapping[ImageId, int] = field(default_factory=dict)  # where spec.targets is "file"

    @property
    def positions(self) -> list[int]:
        """The images to attack: the first ones of the sample, so that models can be paired."""
        return list(self.data.first(self.limit))

    @property
    def folder(self) -> Path:
        """The folder of its run."""
        return self.workspace.run(run_info(self).name)

    @property
    def draws(self) -> Draws:
        """What the attack draws random numbers for: each image, batch or run."""
        reference = self.attack.reference_draws if self.precision == "reference" else None
        return reference or self.attack.draws

    @property
    def most(self) -> int:
        """The most images in a forward pass."""
        return self.batch_size or BATCH

    def check(self) -> None:
        """Raises BadValue for invalid settings, before anything is written or attacked."""
        self.attack.check(self.spec)
        norm = self.spec.norm
        if self.save_adv == "png" and norm != "linf":
            raise BadValue(f"--save-adv png needs --norm linf, not {norm}: use --save-adv float.")
        if self.spec.targets == "file":
            ids = [self.data.ids[position] for position in self.positions]
            given(self.targets, ids, self.data.labels[self.positions], self.data.classes)


def _further(evaluation: Evaluation) -> dict[str, Any]:
    """Returns the other settings that change a verdict (RunInfo.further)."""
    further: dict[str, Any] = {}
    if evaluation.draws != "image":
        # Another number of images has other batches, and so other random numbers.
        further["batch_size"] = evaluation.most
        further["images"] = len(evaluation.positions)
    if evaluation.spec.targets == "file":
        further["targets"] = targets_digest(evaluation.targets)
    return {**further, **evaluation.attack.sources}


def run_info(evaluation: Evaluation) -> RunInfo:
    """Returns the content of run.json: all that a rerun needs."""
    model, data = evaluation.model, evaluation.data
    card = model.card
    warnings = model.warnings
    if card is not None and not card.finished:
        warnings += (f"training unfinished: these are the weights of epoch {card.epochs}",)
    return RunInfo(
        model=ModelInfo(
            model.name,
            model.ref,
            model.weights,
            spec=asdict(card.spec) if card else None,
            train=asdict(card.train) if card and card.train else None,
            preprocessing=model.preprocessing,
        ),
        data=DataInfo(
            data.name, data.split, data.fingerprint, data.classes, len(data), data.sample, data.px
        ),
        attack=evaluation.spec,
        seed=evaluation.seed,
        precision=evaluation.precision,
        images=len(evaluation.positions),
        limit=evaluation.limit,
        batch_size=evaluation.batch_size,
        environment=environment(evaluation.device),
        further=_further(evaluation),
        warnings=warnings,
        # Written by whichever process is first, so that the others find what it keeps.
        found={"save_adv": evaluation.save_adv},
    )


def check_fit(model: Model, data: Dataset, batch: Batch) -> Logits:
    """Returns the network's logits on a batch.

    Raises BadValue if the data has more classes, FdbenchError if the network returns no logits.
    """
    logits = logits_of(model.net, batch.x, model.ref)
    classes = logits.shape[1]
    if classes < data.classes:
        raise BadValue(
            f"{model.ref} knows {classes} classes, {data.name} has {data.classes}.\n"
            "Give the --data it was trained on."
        )
    return logits
