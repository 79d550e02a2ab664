"""Black-box attacks: sets of adversarial images made without the victim, and judged on victims."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fdbench import blackbox, submission
from fdbench.api import generators
from fdbench.api.evaluation import run_announced
from fdbench.api.opening import (
    EMBEDDED,
    open_images,
    open_models,
    open_requested,
    workspace_at,
)
from fdbench.api.requests import Compute, DataRequest, SetRequest
from fdbench.attacks import Replay, from_file
from fdbench.console import say, warn
from fdbench.data import Dataset
from fdbench.errors import BadValue, FdbenchError
from fdbench.evaluation import Evaluation
from fdbench.machine import rank_and_world, start_torch
from fdbench.models import Model
from fdbench.specs import attacker_battery, default_eps
from fdbench.store import AdvSet, Workspace
from fdbench.threat import Threat

BATTERY = "caad2017"
_IMAGES, _IMAGES_SUBMITTED = 250, 100  # per batch; the competition runs submissions on 100 images


@dataclass(frozen=True)
class OpenedSet:
    """A set of adversarial images with the data it was made from."""

    stored: AdvSet
    images: Dataset
    workspace: Workspace
    device: torch.device


def use_set(name: str, data: DataRequest, results: Path, compute: Compute) -> OpenedSet:
    """Opens an existing set, by its name or folder."""
    workspace, device = workspace_at(results), start_torch(compute.device, compute.threads)
    stored = AdvSet.open(workspace, name)
    source = stored.info.data
    images = open_requested(data, source.name, source.split, source.sample)
    if images.sample != source.sample:
        raise BadValue(
            f"{stored.path} holds a {source.sample} sample of {source.name}: leave --sample out."
        )
    return OpenedSet(stored, images, workspace, device)


def make_set(
    request: SetRequest,
    data: DataRequest,
    limit: int | None,
    batch_size: int | None,
    results: Path,
    compute: Compute,
) -> OpenedSet:
    """Makes the missing images of a set, without the victim, and opens it."""
    workspace, device = workspace_at(results), start_torch(compute.device, compute.threads)
    plan = _plan(request, data, (limit, batch_size), workspace, device)
    names = ", ".join(attacker.spec.name for attacker in plan.attackers)
    kind = f"targeted ({plan.aim.name.split()[0]})" if plan.aim else "untargeted"
    say(f"{names} on {plan.data.name}, linf, eps {255 * plan.threat.eps:g}/255, {kind}")
    for warning in plan.warnings:
        warn(warning)
    folder = blackbox.make_set(plan, say)
    stored = AdvSet.open(workspace, folder.name)
    for name, counts in stored.counts.items():
        for line in submission.summary(counts) if counts else []:
            say(f"{name}: {line}")
    return OpenedSet(stored, plan.data, workspace, device)


def judge(
    opened: OpenedSet, refs: Sequence[str], limit: int | None, batch_size: int | None
) -> list[Path]:
    """Judges the set on every victim named, if any; returns the run folders."""
    if not refs:
        return []
    stored, images = opened.stored, opened.images
    rank, world = rank_and_world()
    count = min(limit or stored.info.images, len(images))
    # Each process judges the images it made: others may still be running.
    stored.check_fit(images, images.ids[rank:count:world])
    attack = Replay(stored)
    folders = []
    for model in open_models(refs, opened.workspace):
        evaluation = Evaluation(
            model, images, attack, stored.spec, opened.workspace, opened.device,
            seed=stored.info.seed, limit=count if count < len(images) else None,
            batch_size=batch_size,
        )  # fmt: skip
        folders.append(run_announced(evaluation))
    return folders


def _plan(
    request: SetRequest,
    data: DataRequest,
    amounts: tuple[int | None, int | None],
    workspace: Workspace,
    device: torch.device,
) -> blackbox.SetPlan:
    """Plans a set, and opens every network, recipe and folder it needs."""
    limit, batch_size = amounts
    known = _known(request.surrogates, workspace, data.download)
    images = open_images(known.models[0], data) if known else open_requested(data, EMBEDDED)
    eps, aim = request.eps or default_eps(images.name), _aim(images, request)
    threat, targeted = Threat("linf", eps), aim is not None
    given = _given_attackers(request, images.ids[:limit], eps, targeted)
    titles = [path.resolve().name for path in (*request.submissions, *request.folders)]
    attackers: list[blackbox.Attacker] = []
    warnings: tuple[str, ...] = ()
    if known:
        battery = attacker_battery(request.attackers or BATTERY)
        ensemble, warnings = blackbox.open_ensemble(known, images, device)
        specs, seed = battery.attackers, request.seed or 0
        if not targeted:  # a generator can't aim: by_method says so
            specs = generators.ready(
                specs, generators.Setting(known, data, images, eps, workspace, device)
            )
        titles = [battery.name, *titles]
        attackers = [blackbox.by_method(one, ensemble, threat, seed, targeted) for one in specs]
    usual = _IMAGES_SUBMITTED if request.submissions else _IMAGES
    return blackbox.SetPlan(
        "-".join(titles), (*attackers, *given), images, threat, workspace, device,
        request.seed or 0, limit, batch_size or usual, request.name, known, warnings, aim,
    )  # fmt: skip


def _given_attackers(
    request: SetRequest, ids: Sequence[int | str], eps: float, targeted: bool
) -> list[blackbox.Attacker]:
    """Returns the attackers of submissions and of folders of images made elsewhere."""
    limit_s = request.time_limit or submission.LIMIT_S
    given = [blackbox.by_submission(path, eps, limit_s, targeted) for path in request.submissions]
    return given + [blackbox.by_folder(path, eps, ids) for path in request.folders]


def _aim(images: Dataset, request: SetRequest) -> blackbox.Aim | None:
    """Returns the classes to reach; None for an untargeted set."""
    chosen = request.targets
    if chosen is None and not request.targeted:
        return None
    if chosen == "random":
        return blackbox.Aim()
    if chosen is not None:
        if not Path(chosen).is_file():
            raise BadValue(f"--targets {chosen!r} is neither random nor a CSV file.")
        return blackbox.Aim(from_file(Path(chosen)))
    try:
        return blackbox.Aim(blackbox.known_targets(images))
    except FdbenchError as reason:
        raise FdbenchError(f"{reason.message}\nDraw targets instead: --targets random") from reason


def _known(typed: Sequence[str], workspace: Workspace, download: bool) -> blackbox.Known | None:
    """Returns the surrogates and their weights; None if there are none."""
    pairs = [with_weight(text) for text in typed]
    models: tuple[Model, ...] = ()
    if pairs:
        models = tuple(open_models([ref for ref, _ in pairs], workspace, download=download))
    return blackbox.Known(models, tuple(weight for _, weight in pairs)) if models else None


def with_weight(text: str) -> tuple[str, float]:
    """Parses `r20=0.5` into a reference and a weight, by default 1. Raises BadValue.

    An argument of a reference, and what it states, have an `=` of their own:
    `net.py:load?ckpt=best.pt=0.5` has a weight, `net.py:load?ckpt=best.pt` has none.
    """
    ref, equals, weight = text.rpartition("=")
    last_argument = re.split("[?#&]", text)[-1]
    if not equals or (last_argument != text and last_argument.count("=") < 2):
        return text, 1.0
    try:
        return ref, float(weight)
    except ValueError as reason:
        raise BadValue(
            f"--surrogate {text}: {weight!r} is not a weight, as in {ref}=0.5"
        ) from reason
