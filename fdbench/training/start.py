"""Starts trainings from plain arguments: opens the data and surrogates, resolves the settings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from fdbench.attacks import Ensemble
from fdbench.console import warn
from fdbench.data import Dataset, open_data, sampled
from fdbench.errors import BadValue, FdbenchError
from fdbench.files import temporary_folder
from fdbench.machine import has_bf16, rank_and_world
from fdbench.models import Model
from fdbench.specs import ModelSpec, default_eps
from fdbench.store import Surrogate, Workspace, write_tensors
from fdbench.training.curves import check_log
from fdbench.training.estimate import Estimate, estimate
from fdbench.training.generator import AttackerSettings, GeneratorLearner, GeneratorTraining
from fdbench.training.loop import train
from fdbench.training.methods import learner_for
from fdbench.training.network import Training
from fdbench.training.processes import launch
from fdbench.training.settings import Settings, describe, refuse_unused, resolve
from fdbench.training.team import team_on
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

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "DataSource":
        """The source whose fields are in a JSON object."""
        folder = table["data_dir"]
        return cls(**{**table, "data_dir": None if folder is None else Path(folder)})

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
    accumulate: int = 1,
    log: Path | None = None,
    start: Mapping[str, Tensor] | None = None,
    **settings: Unpack[Settings],
) -> Path:
    """Trains a network, or resumes its training, and returns the path of its weights.

    With other processes if torchrun started this one: each takes its share of every batch.

    Args:
        shape: the architecture; classes and image size come from the data.
        name: of the weights and the row; None takes the architecture's.
        fresh: start over if a training of that name exists.
        accumulate: pieces of each process's share of a batch, learnt one after the other; batch
            norm sees one at a time.
        log: a .jsonl or .csv file to which each epoch's measurements are written besides.
        start: the tensors of a trained network of another package, to fine-tune; None: drawn.
        settings: fields of TrainSpec; those left out or None come from the model's recipe for this
            data set, else from the profile for its size.

    Raises BadValue for settings that contradict each other and for another training of that name,
    FdbenchError for data that can't be opened and a loss that is not finite.
    """
    if log is not None:
        check_log(log)
    if rank_and_world()[0]:
        say = _silent
    training = _prepared(shape, source, workspace, device, name, settings, start)
    say(describe(training.name, training.model, training.spec, len(training.train), str(device)))
    with team_on(device) as team:
        if team.world > 1:
            say(f"{team.world} processes, {training.spec.batch_size / team.world:g} images each")
        return train(
            learner_for(training), fresh=fresh, say=say, team=team, accumulate=accumulate, log=log
        )


def estimate_network(
    shape: ModelSpec,
    source: DataSource,
    *,
    workspace: Workspace,
    device: torch.device,
    say: Say,
    accumulate: int = 1,
    start: Mapping[str, Tensor] | None = None,
    **settings: Unpack[Settings],
) -> Estimate:
    """Measures a few steps of what `train_network` would do; writes nothing.

    Raises as `train_network` does.
    """
    _refuse_several_processes()
    training = _prepared(shape, source, workspace, device, None, settings, start)
    say(describe(training.name, training.model, training.spec, len(training.train), str(device)))
    return estimate(learner_for(training), accumulate)


def _prepared(
    shape: ModelSpec,
    source: DataSource,
    workspace: Workspace,
    device: torch.device,
    name: str | None,
    settings: Settings,
    start: Mapping[str, Tensor] | None,
) -> Training:
    """Opens the data and resolves the settings."""
    refuse_unused(settings)
    fastest = "bf16" if has_bf16(device) else "fp32"
    data = source.ref or _DEFAULT_DATA
    images = source.open(data, "train")
    model = replace(shape, classes=images.classes, px=images.px)
    spec, title = resolve(model, data, settings, fastest), name or model.name
    held_out = source.open(data, "held-out")
    low = "bf16" in (spec.precision, spec.attack_precision)
    if low and fastest != "bf16" and rank_and_world()[0] == 0:
        warn(
            "bf16: this processor has no bfloat16 arithmetic, and PyTorch's emulation is many "
            "times slower than float32. `auto` takes bf16 only where there is some."
        )
    extra = _extra_data(spec.extra_data) if spec.extra_data else None
    return Training(title, model, spec, images, held_out, workspace, device, start, extra)


def _extra_data(ref: str) -> Dataset:
    """Opens a file of images. A folder could hold test images: it is refused."""
    kind, _, path = ref.partition(":")
    if kind != "npz" or not Path(path).expanduser().is_file():
        raise BadValue(
            f"--extra-data {ref}: give npz:FILE, one file with x (images, uint8) and y (labels)."
        )
    return open_data(ref, "test")


def train_apart(
    world: int,
    shape: ModelSpec,
    source: DataSource,
    *,
    workspace: Workspace,
    device: str,
    threads: int | None,
    name: str | None = None,
    log: Path | None = None,
    start: Mapping[str, Tensor] | None = None,
    **rest: Any,
) -> Path:
    """Does what `train_network` does, in `world` processes of this machine.

    They read the weights that they start from in a file which is gone afterwards. Raises BadValue
    if there are fewer GPUs than processes, and as `launch` does.
    """
    gpus = torch.cuda.device_count() if device != "cpu" else 0
    if 0 < gpus < world:
        raise BadValue(
            f"--nproc {world}: PyTorch sees {gpus} GPUs here, and each process needs its own.\n"
            f"Give --nproc {gpus}, or --device cpu."
        )
    plain = {**asdict(source), "data_dir": source.data_dir and str(source.data_dir)}
    arguments = {
        "shape": asdict(shape),
        "source": plain,
        "results": str(workspace.root),
        "device": device,
        "threads": threads,
        "name": name,
        "log": log and str(log),
        **rest,
    }
    with _written(start) as file:
        launch(world, "fdbench.training.worker", {**arguments, "start": file and str(file)})
    return workspace.checkpoint(name or shape.name)


@contextmanager
def _written(start: Mapping[str, Tensor] | None) -> Iterator[Path | None]:
    """Yields a file of these tensors, for as long as it is needed."""
    if start is None:
        yield None
        return
    with temporary_folder() as folder:
        path = folder / "start.safetensors"
        write_tensors(path, start, {})
        yield path


def _silent(text: str) -> None:
    """The first process says it."""


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
            "this training takes one process: start it without torchrun, or train its networks so."
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
