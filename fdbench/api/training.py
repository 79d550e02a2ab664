"""Trains networks and the feed-forward attacker (paper, Sec. 6)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

from torch import Tensor

from fdbench import training
from fdbench.api.architectures import fine_tuned
from fdbench.api.opening import workspace_at
from fdbench.api.requests import DataRequest
from fdbench.console import say
from fdbench.errors import BadValue, unknown
from fdbench.machine import rank_and_world, start_torch
from fdbench.models import denoise_choices, open_model
from fdbench.specs import NO_DENOISER, ModelSpec
from fdbench.store import Workspace
from fdbench.training import DataSource, Settings
from fdbench.units import check_size


def _source(data: DataRequest | str | None) -> DataSource:
    if not isinstance(data, DataRequest):
        return DataSource(data)
    return DataSource(data.data, data.data_dir, data.download, data.px)


def train(
    arch: str | ModelSpec | None = None,
    data: str | DataRequest | None = None,
    *,
    model: str | None = None,
    denoise: str = NO_DENOISER,
    name: str | None = None,
    fresh: bool = False,
    results: Path | str = "results",
    device: str = "auto",
    threads: int | None = None,
    nproc: int = 1,
    accumulate: int = 1,
    log: Path | str | None = None,
    **settings: Unpack[Settings],
) -> Path:
    """Trains a network on adversarial images, or resumes its training.

    Processes that torchrun started train together; so do `nproc` of this machine.

    Args:
        arch: an architecture such as "r20" or "timm:resnet18", or a whole ModelSpec; classes and
            image size are the data's.
        data: a data set as for `--data`; None: the embedded images.
        model: in place of `arch`, a reference to a network of another package or file, whose
            weights are fine-tuned; its blocks are those of a ModelSpec given as `arch`.
        denoise: kind of denoising block, as for `--denoise`.
        name: name of the weights; None: the network's.
        fresh: start over if a training of that name exists.
        results: the results folder; the weights are kept in its checkpoints/.
        device: "auto", "cpu", "cuda" or "mps".
        threads: CPU threads of a process; None: PyTorch's own number, or the cores / nproc.
        nproc: processes on this machine, each with its share of every batch and, if there are
            GPUs, one of them.
        accumulate: pieces of each process's share, learnt one after the other: less memory. Batch
            norm sees one at a time, as it sees one process's images at a time.
        log: a .jsonl or .csv file to which each epoch's measurements are written besides.
        settings: fields of TrainSpec, such as recipe="fast", epochs, eps (image units) or
            clean=True; those left out come from the model's recipe for this data set, else from the
            paper (100 classes or more); small images have the recipe "fast" or, where an attack or
            a schedule is chosen, what PGD-10 usually has.

    Returns:
        The weights file of the epoch that was best on held-out images.

    Raises:
        BadValue: if settings contradict each other, or another training has that name.
        FdbenchError: if the data can't be opened, or the loss stops being finite; the last good
            weights are kept.

    Example:
        >>> small = fdbench.ModelSpec("r20", width=2)
        >>> path = fdbench.train(small, "npz:photos", epochs=1, attack_iters=2)
        >>> net = fdbench.load_model(str(path))
    """
    workspace, source = workspace_at(results), _source(data)
    network, start = _network(arch, model, denoise, data, workspace)
    file = Path(log) if log else None
    if nproc > 1:
        _check_apart()
        return training.train_apart(
            nproc, network, source, workspace=workspace, device=device, threads=threads,
            name=name, fresh=fresh, accumulate=accumulate, log=file, start=start, **settings,
        )  # fmt: skip
    return training.train_network(
        network, source, workspace=workspace, device=start_torch(device, threads), say=say,
        name=name, fresh=fresh, accumulate=accumulate, log=file, start=start, **settings,
    )  # fmt: skip


def _check_apart() -> None:
    """Raises BadValue where this process can't start others that train in its place."""
    if rank_and_world()[1] > 1:
        raise BadValue("--nproc starts processes of its own: leave it out under torchrun.")


def _network(
    arch: str | ModelSpec | None,
    model: str | None,
    denoise: str,
    data: DataRequest | str | None,
    workspace: Workspace,
) -> tuple[ModelSpec, Mapping[str, Tensor] | None]:
    """Returns what to train, and the weights that it starts from; None: drawn."""
    if isinstance(arch, ModelSpec) and denoise != NO_DENOISER:
        raise BadValue("a ModelSpec names its own denoising block: leave denoise out.")
    start: Mapping[str, Tensor] | None = None
    if model is None and arch is not None:
        network = ModelSpec(arch, denoise) if isinstance(arch, str) else arch
    elif model is None or isinstance(arch, str):
        raise BadValue("what network? Give arch, or model to fine-tune its weights; not both.")
    else:
        shape = arch if arch is not None else ModelSpec(f"model:{model}", denoise)
        download = isinstance(data, DataRequest) and data.download
        network, start = fine_tuned(model, shape, workspace, download=download)
    if network.denoise not in denoise_choices():  # refused before anything slow happens
        raise unknown("denoiser", network.denoise, denoise_choices())
    return network, start


def estimate_training(
    arch: str | ModelSpec | None = None,
    data: str | DataRequest | None = None,
    *,
    model: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    accumulate: int = 1,
    **settings: Unpack[Settings],
) -> list[str]:
    """Measures a few steps of a training that `train` would begin; writes nothing.

    Returns:
        Lines of text: what was measured, how long all of it takes here, and by a formula that is
        among them on 8, 32 and 128 such devices.

    Raises:
        As `train` does.
    """
    workspace = workspace_at("results")
    network, start = _network(arch, model, NO_DENOISER, data, workspace)
    found = training.estimate_network(
        network,
        _source(data),
        workspace=workspace,
        device=start_torch(device, threads),
        say=say,
        accumulate=accumulate,
        start=start,
        **settings,
    )
    return found.lines()


def is_first_process() -> bool:
    """Returns whether this is the process that speaks for all that torchrun started."""
    return rank_and_world()[0] == 0


def train_attacker(
    surrogates: Sequence[str],
    data: str | DataRequest | None = None,
    *,
    name: str = "generator",
    fresh: bool = False,
    eps: float | None = None,
    epochs: int = 2,
    batch_size: int = 32,
    lr: float = 2e-3,
    limit: int | None = None,
    seed: int = 0,
    results: Path | str = "results",
    device: str = "auto",
    threads: int | None = None,
) -> Path:
    """Trains the feed-forward attacker (transfer method `generator`), or resumes its training.

    Args:
        surrogates: references of the networks to train on, as for `--model`.
        data: a data set as for `--data`; None: the one the surrogates were trained on.
        name: name of the weights.
        fresh: start over if a training of that name exists.
        eps: largest perturbation, linf in image units; None: the default for the data.
        epochs: passes over the images.
        batch_size: images per step.
        lr: Adam's learning rate.
        limit: train on `limit` images only: the first, or one of each class in turn where the data
            are ordered by class.
        seed: seed of all random numbers.
        results: the results folder; the weights are kept in its attackers/.
        device: "auto", "cpu", "cuda" or "mps".
        threads: CPU threads; None: PyTorch's own number.

    Returns:
        The weights file.

    Raises:
        BadValue: if another training has that name.
        FdbenchError: if `data` is None and the surrogates' cards don't name one data set.

    Example:
        >>> path = fdbench.train_attacker(["mynets:small"], "fashion-mini", epochs=1, limit=64)
        >>> clean = fdbench.open_data("fashion-mini").fetch(range(2)).x
        >>> adv = fdbench.transfer([net], clean, eps=8 / 255, method="generator", weights=str(path))
    """
    if eps is not None:
        check_size(eps, "linf")
    torch_device, workspace = start_torch(device, threads), workspace_at(results)
    return training.train_attacker(
        [open_model(ref, workspace) for ref in surrogates],
        _source(data),
        workspace=workspace,
        device=torch_device,
        say=say,
        name=name,
        fresh=fresh,
        eps=eps,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        limit=limit,
        seed=seed,
    )
