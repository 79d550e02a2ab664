"""Checks that a number can be trusted: the doctor examines a network, verify a finished run."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from fdbench.api.opening import (
    complete,
    model_of,
    open_images,
    open_models,
    open_requested,
    workspace_at,
)
from fdbench.api.requests import AttackRequest, Compute, DataRequest, DoctorRequest
from fdbench.console import progress, say, warn
from fdbench.data import Dataset
from fdbench.errors import BadValue, FdbenchError
from fdbench.evaluation import CHECKS, Patient, audit, check_fit, examine, find_run
from fdbench.evaluation import read_run as read_saved
from fdbench.machine import start_torch
from fdbench.models import Model, open_model
from fdbench.specs import AttackSpec
from fdbench.store import (
    Check,
    Findings,
    Workspace,
    now,
    read_unfinished,
    write_findings,
    write_unfinished,
)
from fdbench.threat import Threat, unusual
from fdbench.types import Images

# Tolerance in points between the card's accuracy on held-out images and that on the test set.
_GIVE = 5.0
_FEW = 2  # networks of the workspace used as surrogates if none is named


def doctor(
    model: str | nn.Module,
    data: str | None = None,
    *,
    eps: float | None = None,
    norm: str = "linf",
    sample: str | None = None,
    limit: int = 200,
    surrogates: Sequence[str] = (),
    expected: tuple[float, float] | None = None,
    eot: int = 1,
    seed: int = 0,
    results: Path | str = "results",
    device: str = "auto",
) -> Findings:
    """Looks for reasons to distrust a network's robust accuracy, and stores the findings.

    Args:
        model: a reference as for `--model`, or a network in inference mode: RGB (B, 3, H, W) in
            [0, 1] -> logits (B, C).
        data: a data set as for `--data`; None: the one the model was trained on.
        eps: radius in image units; None: the eps the model was trained with, else 8/255 (16/255 on
            ImageNet).
        norm: "linf" or "l2".
        sample: the order that `limit` cuts: "first" (the data's own), "balanced" (one image of each
            class in turn) or "random[:SEED]"; None: balanced where the data are ordered by class.
        limit: test on the first `limit` images.
        surrogates: references of networks to transfer from; none: two others trained here.
        expected: clean accuracy and its tolerance, in percent.
        eot: passes that attacks average over, above 1 for a network that draws random numbers.
        seed: seed of all random numbers.
        results: the results folder; the findings are kept there and reported.
        device: "auto", "cpu", "cuda" or "mps".

    Returns:
        The findings: what was examined, and its checks, each "pass", "fail" or "skipped".

    Raises:
        BadValue: if a setting is invalid or contradicts another.

    Example:
        >>> findings = fdbench.doctor(net, "fashion-mini", eps=8 / 255, limit=20)
        >>> {check.verdict for check in findings.checks} <= {"pass", "fail", "skipped"}
        True
    """
    workspace, where = workspace_at(results), start_torch(device, None)
    opened = model_of(model, workspace)
    request = AttackRequest(norm=norm, eps=eps, targeted=False)
    checkup = DoctorRequest(tuple(surrogates), limit, expected, eot, seed)
    images = open_images(opened, DataRequest(data, sample=sample))
    return examined(opened, images, complete(request, opened, images), checkup, workspace, where)


def doctor_models(
    refs: Sequence[str],
    request: AttackRequest,
    data: DataRequest,
    asked: DoctorRequest,
    results: Path,
    compute: Compute,
) -> Iterator[Findings]:
    """Yields the findings of each model named, or of all in the workspace, one at a time."""
    workspace, device = workspace_at(results), start_torch(compute.device, compute.threads)
    for model in open_models(refs, workspace, download=data.download):
        images = open_images(model, data)
        spec = complete(request, model, images)
        yield examined(model, images, spec, asked, workspace, device)


def examined(
    model: Model,
    images: Dataset,
    spec: AttackSpec,
    checkup: DoctorRequest,
    workspace: Workspace,
    device: torch.device,
) -> Findings:
    """Examines a network under the threat of `spec`, and stores the findings."""
    threat = Threat(spec.norm, spec.eps)
    threat.check_steps()
    model.net.to(device)
    batch = images.fetch(range(min(checkup.limit, len(images)))).to(device)
    classes = check_fit(model, images, batch).shape[1]
    others = _others(model, checkup.surrogates, workspace, batch.x, classes)
    expected = checkup.expected or _card_says(model, images.name)
    patient = Patient(
        model.net,
        batch,
        threat,
        classes,
        checkup.seed,
        checkup.eot,
        expected,
        tuple(other.net for other in others),
    )
    about = Findings(
        model.name, model.weights, images.name, (), now(), spec.norm, spec.eps, len(batch.ids),
        images.split, images.fingerprint, model.preprocessing, images.sample, checkup.seed,
        checkup.eot, ", ".join(f"{other.name} {other.weights[:8]}" for other in others),
        "{:g} within {:g}".format(*expected) if expected else "",
    )  # fmt: skip
    if far := unusual(spec.norm, spec.eps, images.px):
        warn(far)
    say(f"{about.title}; transfer from {about.surrogates or 'no network'}")
    return _kept(patient, about, workspace)


def _kept(patient: Patient, about: Findings, workspace: Workspace) -> Findings:
    """Runs the checks that are not done yet, each stored at once, and stores the findings."""
    done = read_unfinished(workspace, about)
    if done:
        say(f"continuing after {len(done)} of {len(CHECKS)} checks")
    findings = about
    with progress(f"doctor {about.model}", len(CHECKS), "checks", len(done)) as advance:
        for check in examine(patient, done):
            findings = replace(findings, checks=(*findings.checks, check))
            if len(findings.checks) > len(done):
                write_unfinished(workspace, findings)
                advance(1)
    say(f"kept in {write_findings(workspace, findings)}")
    workspace.unfinished_findings(about.name).unlink(missing_ok=True)
    return findings


def _card_says(model: Model, data: str) -> tuple[float, float] | None:
    """Returns the card's clean accuracy on held-out images of the same data, and a tolerance."""
    card = model.card
    if card is None or not card.log or card.data["name"] != data:
        return None
    kept = [entry for entry in card.log if entry["epoch"] == card.epochs]
    return (100 * kept[0]["held_out_clean"], _GIVE) if kept else None


def _others(
    model: Model, surrogates: Sequence[str], workspace: Workspace, x: Images, classes: int
) -> list[Model]:
    """Returns networks to transfer from: those named, or some here with as many classes."""
    refs = surrogates or [name for name in workspace.weights() if name != model.name]
    chosen: list[Model] = []
    for ref in refs:
        other = open_model(ref, workspace)
        if other.weights == model.weights:
            if surrogates:
                raise BadValue(f"--surrogate {ref} is the examined network: name another.")
            continue
        net = other.net.to(x.device)
        with torch.no_grad():
            fits = net(x[:1]).shape[1] == classes
        if surrogates and not fits:
            raise BadValue(f"--surrogate {ref} does not have the model's {classes} classes.")
        if fits:
            chosen.append(other)
        if not surrogates and len(chosen) == _FEW:
            break
    return chosen


def run_folder(run: str, results: Path | str = "results") -> Path:
    """Returns the folder of a run, by its path or its name. Raises BadValue for neither."""
    return find_run(workspace_at(results), run)


def verify(
    run: Path | str,
    *,
    model: str | nn.Module | None = None,
    data: DataRequest | None = None,
    batch_size: int | None = None,
    results: Path | str = "results",
    device: str = "auto",
    threads: int | None = None,
) -> list[Check]:
    """Rechecks a stored run: its rows, kept images, weights and every verdict.

    Args:
        run: its folder, or its name under results/runs.
        model: the run's network, or a reference to it; None: the reference in its run.json.
        data: where the run's data are now; None: as in its run.json.
        batch_size: images per batch; None: as they were attacked.
        results: the results folder.
        device: "auto", "cpu", "cuda" or "mps".
        threads: CPU threads; None: PyTorch's own number.

    Returns:
        A list of Checks, each "pass", "fail" or "skipped".

    Raises:
        BadValue: if the run does not exist.
        FdbenchError: if run.json is malformed or the data can't be read.

    Example:
        >>> run = fdbench.evaluate(net, "fashion-mini", iters=(2,), limit=8, save_adv="float")
        >>> any(check.verdict == "fail" for check in fdbench.verify(run.path, model=net))
        False
    """
    workspace = workspace_at(results)
    saved, where = read_saved(find_run(workspace, str(run))), start_torch(device, threads)
    opened = _open_or_say(saved.info.model.ref if model is None else model, workspace)
    recorded, given = saved.info.data, data or DataRequest()
    images = open_requested(given, recorded.name, recorded.split, recorded.sample)
    return verified(saved.path, opened, images, where, batch_size)


def verified(
    folder: Path,
    model: Model | None,
    images: Dataset,
    device: torch.device,
    batch_size: int | None = None,
) -> list[Check]:
    """Rechecks a stored run with its model, None if that can't be opened, and its images."""
    saved = read_saved(folder)
    with progress(folder.name, len(saved.rows), "images") as advance:
        return audit(saved, model, images, device, batch_size=batch_size, tick=advance)


def _open_or_say(ref: str | nn.Module, workspace: Workspace) -> Model | None:
    """Returns the model, or prints why not and returns None: bad weights are only a finding."""
    try:
        return model_of(ref, workspace)
    except BadValue:
        raise
    except FdbenchError as reason:
        say(f"{reason.message}\nIf it is elsewhere now: --model FILE.safetensors or net.py:load")
        return None
