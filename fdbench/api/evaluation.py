"""Attacks on models over data sets, recorded and resumable: `fdbench.evaluate` and its commands."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fdbench.api import inputs
from fdbench.api.opening import (
    complete,
    in_order,
    model_of,
    open_images,
    open_models,
    workspace_at,
)
from fdbench.api.requests import AttackRequest, Compute, DataRequest, RunRequest
from fdbench.attacks import ATTACKS, Attack, parameters_of
from fdbench.console import say, warn
from fdbench.data import Dataset
from fdbench.errors import BadValue
from fdbench.evaluation import Evaluation, check_expected, suspicions
from fdbench.evaluation import evaluate as run_evaluation
from fdbench.evaluation import evaluate_together as run_together
from fdbench.machine import start_torch
from fdbench.models import Model
from fdbench.specs import AttackSpec
from fdbench.store import Run, Workspace, read_run
from fdbench.units import parse_size


def evaluate(
    model: str | nn.Module,
    data: str | Dataset,
    attack: str | AttackSpec = "pgd",
    *,
    eps: float | str | None = None,
    norm: str = "linf",
    targeted: bool | None = None,
    split: str = "test",
    sample: str | None = None,
    limit: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    precision: str = "fp32",
    save_adv: str | None = None,
    results: Path | str = "results",
    device: str = "auto",
    **parameters: Any,
) -> Run:
    """Attacks a network over a data set and records every row; the same call resumes.

    Args:
        model: a reference as for `--model`, or a network in inference mode: RGB (B, 3, H, W) in
            [0, 1] -> logits (B, C).
        data: a data set as for `--data`, or one that `open_data` returned.
        attack: a name of `fdbench list attacks`, or a complete AttackSpec, which replaces `eps`,
            `norm`, `targeted` and `parameters`.
        eps: radius in image units, or a string such as "8/255". None: the eps the model was trained
            with, else 8/255 (16/255 on ImageNet).
        norm: "linf", "l2" or another norm the attack supports.
        targeted: whether to attack towards a wrong class; None: if there are 100 classes or more.
        split: "test", "held-out" or "train".
        sample: the order that `limit` cuts: "first" (the data's own), "balanced" (one image of each
            class in turn) or "random[:SEED]"; None: balanced where the data are ordered by class.
        limit: attack only the first `limit` images; a larger limit continues the run.
        batch_size: images per forward pass; None: 250, or what fits in memory.
        seed: seed of starts and targets, which depend on (seed, image).
        precision: "fp32", "bf16" or "auto" for the attack's gradients; verdicts are float32.
        save_adv: "float" or "png" to keep the adversarial images for `verify`.
        results: the results folder; the run is kept in its runs/.
        device: "auto", "cpu", "cuda" or "mps".
        parameters: the attack's parameters, such as iters=(10, 100).

    Returns:
        The run: its folder, its description and its rows, one per image.

    Raises:
        BadValue: if a setting is invalid or contradicts another.
        IllegalAdversary: if the attack leaves its threat model; that batch is not recorded.

    Example:
        >>> run = fdbench.evaluate(net, "fashion-mini", iters=(10, 20), limit=20)
        >>> len(run.rows)
        20
    """
    request = _request(attack, eps, norm, targeted, precision, parameters)
    run = RunRequest(limit, batch_size, seed, save_adv=save_adv)
    part = DataRequest(split=split, sample=sample)
    return _recorded(model, data, part, request, run, results, device)[0]


def security_curve(
    model: str | nn.Module,
    data: str | Dataset,
    radii: Sequence[float | str],
    *,
    norm: str = "linf",
    split: str = "test",
    sample: str | None = None,
    limit: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    precision: str = "fp32",
    save_adv: str | None = None,
    results: Path | str = "results",
    device: str = "auto",
    **parameters: Any,
) -> list[Run]:
    """Attacks a network at several radii at once; the same call resumes.

    By the fast verdict, or in l0 by sigma-zero. All radii together cost at most two runs at one,
    and robust accuracy falls with the radius by construction.

    Args:
        model: a reference as for `--model`, or a network as for `evaluate`.
        data: a data set as for `--data`, or one that `open_data` returned.
        radii: in image units, or strings such as "8/255"; at least two.
        norm: "linf", "l2", "l1" or "l0".
        split: "test", "held-out" or "train".
        sample: the order that `limit` cuts.
        limit: attack only the first `limit` images; a larger limit continues the runs.
        batch_size: images per forward pass; None: 250, or what fits in memory.
        seed: seed of starts, which depend on (seed, image).
        precision: "fp32" or "bf16" for the attack's gradients; verdicts are float32.
        save_adv: "float" or "png" to keep the adversarial images for `verify`.
        results: the results folder; the runs are kept in its runs/.
        device: "auto", "cpu", "cuda" or "mps".
        parameters: the attack's, such as queries=1000; in l0 iters=300.

    Returns:
        A run for each radius, in ascending order.

    Raises:
        BadValue: if a setting is invalid, or there are fewer than two radii.
        IllegalAdversary: if the attack leaves its threat model; that batch is not recorded.

    Example:
        >>> runs = fdbench.security_curve(net, "fashion-mini", ["1/255", "2/255"], limit=20)
        >>> [len(run.rows) for run in runs]
        [20, 20]
    """
    sizes = [parse_size(one, norm) if isinstance(one, str) else float(one) for one in radii]
    if len(set(sizes)) < 2:
        raise BadValue(f"a curve has at least two different radii, not {list(radii)}.")
    attack = "sigma-zero" if norm == "l0" else "fast"
    settings = parameters_of(attack).of(parameters, f"the parameters of {attack}")
    request = AttackRequest(
        attack, settings, norm, None, False, precision=precision, radii=tuple(sizes)
    )
    run = RunRequest(limit, batch_size, seed, save_adv=save_adv)
    part = DataRequest(split=split, sample=sample)
    return _recorded(model, data, part, request, run, results, device)[::-1]


def _recorded(
    model: str | nn.Module,
    data: str | Dataset,
    part: DataRequest,
    request: AttackRequest,
    run: RunRequest,
    results: Path | str,
    device: str,
) -> list[Run]:
    """The runs of an attack; `part` says which images of the data."""
    workspace, where = workspace_at(results), start_torch(device, None)
    opened = model_of(model, workspace)
    inputs.data(data)
    if isinstance(data, Dataset):
        images = data if data.sample != "first" else in_order(data, part.sample)
    else:
        images = open_images(opened, replace(part, data=data))
    return [read_run(path) for path in _attack(opened, request, images, run, workspace, where)]


def _request(
    attack: str | AttackSpec,
    eps: float | str | None,
    norm: str,
    targeted: bool | None,
    precision: str,
    parameters: dict[str, Any],
) -> AttackRequest:
    if isinstance(attack, AttackSpec):
        return AttackRequest.of(attack, precision)
    settings = parameters_of(attack).of(parameters, f"the parameters of {attack}")
    size = parse_size(eps, norm) if isinstance(eps, str) else eps
    return AttackRequest(attack, settings, norm, size, targeted, precision=precision)


def attack_models(
    requests: Sequence[AttackRequest],
    refs: Sequence[str],
    data: DataRequest,
    run: RunRequest,
    results: Path,
    compute: Compute,
) -> list[Path]:
    """Runs each attack on each model; returns the run folders."""
    workspace, device = workspace_at(results), start_torch(compute.device, compute.threads)
    folders = []
    for model in open_models(refs, workspace, download=data.download):
        images = open_images(model, data)
        model = looked_at(model, images, run, device)
        for one in requests:
            folders += _attack(model, one, images, run, workspace, device)
    return folders


def looked_at(model: Model, images: Dataset, run: RunRequest, device: torch.device) -> Model:
    """Returns the model with warnings of the classic mistakes that its answers point at.

    Raises SanityFailed if its clean accuracy is not as expected.
    """
    positions = list(images.first(run.limit))
    if run.expected is not None:
        check_expected(model, images, positions, device, run.expected)
    found = suspicions(model, images, positions, device)
    for text in found:
        warn(f"{model.name}: {text}")
    return replace(model, warnings=(*model.warnings, *found))


def _attack(
    model: Model,
    request: AttackRequest,
    images: Dataset,
    run: RunRequest,
    workspace: Workspace,
    device: torch.device,
) -> list[Path]:
    """Runs an attack; at several radii, one run for each."""
    if not request.radii:
        return [run_announced(evaluation_of(model, request, images, run, workspace, device))]
    if request.precision == "auto":
        raise BadValue("--precision auto is tried at one --eps: give fp32 or bf16 for several.")
    attack, radii = ATTACKS[request.attack].together(), sorted(set(request.radii))
    together = request.parameters.at(radii)
    evaluations = [
        replace(
            evaluation_of(
                model, replace(request, eps=radius, parameters=together), images, run, workspace,
                device,
            ),
            attack=attack,
        )
        for radius in reversed(radii)
    ]  # fmt: skip
    _announce(evaluations)
    return run_together(evaluations, say)


def evaluation_of(
    model: Model,
    request: AttackRequest,
    images: Dataset,
    run: RunRequest,
    workspace: Workspace,
    device: torch.device,
) -> Evaluation:
    """Completes a request's open settings from the model and the data."""
    spec = complete(request, model, images)
    attack = ATTACKS[spec.attack]
    return Evaluation(
        model, images, attack, spec, workspace, device, run.seed, run.limit, run.batch_size,
        request.precision, run.compile, run.save_adv, request.wanted,
    )  # fmt: skip


def run_announced(evaluation: Evaluation) -> Path:
    """Announces the attack, runs it on the remaining images and returns the run's folder."""
    _announce([evaluation])
    return run_evaluation(evaluation, say)


def _announce(evaluations: Sequence[Evaluation]) -> None:
    """Says what is attacked; evaluations differ at most in eps."""
    evaluation = evaluations[0]
    spec: AttackSpec = evaluation.spec
    attack: Attack = evaluation.attack
    chosen = spec.parameters.sees_network
    kind = f"targeted ({spec.targets})" if chosen else "targeted"
    kind = kind if spec.targeted else "untargeted"
    name = evaluation.model.name
    attack_name = spec.title or attack.name
    eps = ", ".join(one.spec.eps_text for one in evaluations)
    say(f"{name} on {evaluation.data.name}: {attack_name}, {spec.norm}, eps {eps}, {kind}")
