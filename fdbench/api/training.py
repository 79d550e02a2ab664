"""Trainings: of networks, and of the feed-forward attacker (paper, Sec. 6)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from fdbench import training
from fdbench.api.opening import workspace_at
from fdbench.api.requests import Compute, DataRequest
from fdbench.console import say, stoppable
from fdbench.machine import start_torch
from fdbench.models import DENOISERS
from fdbench.specs import BOTTLENECK, NO_DENOISER, ModelSpec
from fdbench.training import DataSource, Settings


def _source(data: DataRequest | str | None) -> DataSource:
    if not isinstance(data, DataRequest):
        return DataSource(data)
    return DataSource(data.data, data.data_dir, data.download, data.px)


def train(
    shape: ModelSpec | str,
    data: DataRequest | str | None = None,
    *,
    name: str | None = None,
    fresh: bool = False,
    results: Path | str = "results",
    compute: Compute | None = None,
    **settings: Unpack[Settings],
) -> Path:
    """Trains a network on adversarial images, or continues its training.

    Args:
        shape: an architecture such as "r20", or a ModelSpec with denoising blocks; classes and
            image size are the data's.
        data: as after `--data`; None: the embedded images.
        name: of the weights; None: the architecture's.
        fresh: start over where a training of that name exists.
        results: folder under whose checkpoints/ the weights are kept.
        compute: device and threads.
        settings: fields of TrainSpec, such as epochs, eps (image units) or clean=True; those left
            out come from the model's recipe for this data set, else from the paper (100 classes or
            more) or the usual setting for small images.

    Returns:
        The file of weights of the epoch that did best on held-out images.

    Raises:
        BadValue: for settings that contradict each other, or another training of that name.
        FdbenchError: for data that can't be opened, and a loss that stops being finite; the last
            good weights are kept.

    Example:
        >>> path = fdbench.train("r20", epochs=1, attack_iters=1)  # doctest: +SKIP
    """
    asked = ModelSpec(shape) if isinstance(shape, str) else shape
    if asked.denoise not in (NO_DENOISER, BOTTLENECK):
        DENOISERS.check(asked.denoise)  # a wrong name is refused before anything slow happens
    compute = compute or Compute()
    device = start_torch(compute.device, compute.threads)
    with stoppable():
        return training.train_network(
            asked,
            _source(data),
            workspace=workspace_at(results),
            device=device,
            say=say,
            name=name,
            fresh=fresh,
            **settings,
        )


def train_attacker(
    surrogates: Sequence[str],
    data: DataRequest | str | None = None,
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
    compute: Compute | None = None,
) -> Path:
    """Trains the feed-forward attacker (transfer method `generator`), or continues its training.

    Args:
        surrogates: references of the networks to learn on, as after `--model`.
        data: as after `--data`; None: what the surrogates were trained on.
        name: of the weights.
        fresh: start over where a training of that name exists.
        eps: largest perturbation, in image units; None: the default for the data.
        epochs: passes over the images.
        batch_size: images a step.
        lr: Adam's learning rate.
        limit: learn from the first images only.
        seed: of all random numbers.
        results: folder under whose attackers/ the weights are kept.
        compute: device and threads.

    Returns:
        The file of weights.

    Raises:
        BadValue: for another training of that name.
        FdbenchError: where nothing says which data to learn from.
    """
    compute = compute or Compute()
    device = start_torch(compute.device, compute.threads)
    with stoppable():
        return training.train_attacker(
            surrogates,
            _source(data),
            workspace=workspace_at(results),
            device=device,
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
