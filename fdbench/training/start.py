"""Starts trainings from plain arguments: opens the data and surrogates, resolves the settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from fdbench.attacks import Ensemble
from fdbench.data import Dataset, open_data, sampled
from fdbench.errors import BadValue, FdbenchError
from fdbench.machine import rank_and_world
from fdbench.models import Model
from fdbench.specs import ModelSpec, default_eps
from fdbench.store import Surrogate, Workspace
from fdbench.training.generator import AttackerSettings, GeneratorLearner, GeneratorTraining
from fdbench.training.loop import train
from fdbench.training.methods import learner_for
from fdbench.training.network import Training
from fdbench.training.settings import Settings, describe, refuse_unused, resolve
from fdbench.units import pixels

Say = Callable[[str], None]

_DEFAULT_DATA = "fashion-mini"  # shipped with the package: nothing to fetch


@dataclass(frozen=True)
class DataSource:
    """A data set, and how to open its files."""

    ref: str | None = None  # as given to --data; None takes the default
    data_dir: Path | None = None
    download: bool = False
    px: int | None = None

    def open(self, ref: str, split: str) -> Dataset:
        """Opens a split of `ref`: this source's own, or the default in its place."""
        return open_data(ref, split, data_dir=self.data_dir, download=self.download, px=self.px)


def train_network(
    shape: ModelSpec,
    source: DataSource,
    *,
    workspace: Workspace,
    device: torch.device,
    say: Say,
    name: str | None = None,
    fresh: bool = False,
    start: Mapping[str, Tensor] | None = None,
    **settings: Unpack[Settings],
) -> Path:
    """Trains a network, or resumes its training, and returns the path of its weights.

    Args:
        shape: the architecture; classes and image size come from the data.
        name: of the weights and the row; None takes the architecture's.
        fresh: start over if a training of that name exists.
        start: the tensors of a trained network of another package, to fine-tune; None: drawn.
        settings: fields of TrainSpec; those left out or None come from the model's recipe for this
            data set, else from the profile for its size.

    Raises BadValue for settings that contradict each other and for another training of that name,
    FdbenchError for data that can't be opened and a loss that is not finite.
    """
    _refuse_several_processes()
    refuse_unused(settings)
    data = source.ref or _DEFAULT_DATA
    images = source.open(data, "train")
    model = replace(shape, classes=images.classes, px=images.px)
    spec, title = resolve(model, data, settings), name or model.name
    held_out = source.open(data, "held-out")
    training = Training(title, model, spec, images, held_out, workspace, device, start)
    say(describe(title, model, spec, len(images), str(device)))
    return train(learner_for(training), fresh=fresh, say=say)


def train_attacker(
    surrogates: Sequence[Model],
    source: DataSource,
    *,
    workspace: Workspace,
    device: torch.device,
    say: Say,
    name: str = "generator",
    fresh: bool = False,
    eps: float | None = None,
    **settings: Unpack[AttackerSettings],
) -> Path:
    """Trains the feed-forward attacker, or resumes, and returns the path of its weights.

    Args:
        surrogates: the networks to train on.
        eps: the largest perturbation, in image units; None takes the default for the data.
        settings: fields of GeneratorTraining; those left out have its defaults.

    Raises as `train_network` does; FdbenchError also if neither `source` nor the surrogates' cards
    name the training data.
    """
    _refuse_several_processes()
    data = source.ref or _common_data(surrogates)
    nets = tuple(model.net.to(device) for model in surrogates)
    images = source.open(data, "train")
    if settings.get("limit") is not None:
        images = sampled(images)  # class by class in turn where ordered by class
    training = GeneratorTraining(
        name,
        tuple(Surrogate(model.name, model.ref, model.weights) for model in surrogates),
        Ensemble(nets, (1.0,) * len(nets)),
        images,
        workspace,
        device,
        default_eps(data) if eps is None else eps,
        **settings,
    )
    say(_describe_attacker(training))
    return train(GeneratorLearner(training), fresh=fresh, say=say)


def _refuse_several_processes() -> None:
    if rank_and_world()[1] > 1:
        raise BadValue(
            "training takes one process: start it without torchrun, which is for attacks."
        )


def _common_data(models: Sequence[Model]) -> str:
    """Returns the data the surrogates were trained on, if their cards agree."""
    known = {str(model.card.data["name"]) for model in models if model.card is not None}
    if len(known) != 1:
        why = f"differ: {', '.join(sorted(known))}" if known else "do not name it"
        raise FdbenchError(f"no training data: the surrogates' cards {why}.\nGive --data DATA.")
    return known.pop()


def _describe_attacker(training: GeneratorTraining) -> str:
    refs = ", ".join(surrogate.ref for surrogate in training.surrogates)
    sample = training.data.sample
    return (
        f"train attacker {training.name} on {training.data.name}: {training.images} images"
        f"{'' if sample == 'first' else f' ({sample})'}, "
        f"{training.epochs} epochs, eps up to {pixels(training.eps)}, surrogates {refs}, "
        f"{training.device}"
    )
