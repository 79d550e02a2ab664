"""The evaluation loop, in one direction: batch -> attack -> verify -> predict -> rows.

What happens to a batch is in evaluation/session.py.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from torch import nn

from fdbench.console import progress, warn
from fdbench.errors import BadValue, FdbenchError
from fdbench.evaluation import behaviour, precision
from fdbench.evaluation.batching import Chunks, fitting, remaining
from fdbench.evaluation.evaluation import Evaluation, check_fit, run_info
from fdbench.evaluation.observation import Reference, Watched, spied
from fdbench.evaluation.session import Session
from fdbench.machine import BatchLimit, generators_kept, rank_and_world, tidy
from fdbench.models import accelerate
from fdbench.reporting import implausible
from fdbench.store import (
    RunFolder,
    clearing_run,
    read_run,
    write_targets,
)
from fdbench.types import Batch, Images, Logits

Say = Callable[[str], None]


class _Unseen(nn.Module):
    """Replaces the victim in a black-box attack, which must never query it."""

    def forward(self, x: Images) -> Logits:
        raise AssertionError("a black-box attack asked the network it is judged on")


@dataclass(frozen=True)
class _Job:
    """An evaluation, and the folder of its run."""

    evaluation: Evaluation
    folder: RunFolder


def evaluate(evaluation: Evaluation, say: Say) -> Path:
    """Attacks the remaining images and returns the run's folder.

    Rows of finished batches are on disk before the next batch starts; the same evaluation resumes.
    Raises BadValue for invalid settings, IllegalAdversary if an attack leaves its threat model.
    """
    return evaluate_together([evaluation], say)[0]


def evaluate_together(evaluations: Sequence[Evaluation], say: Say) -> list[Path]:
    """Attacks each batch under several threats in turn, and returns the folders of their runs.

    Args:
        evaluations: they differ only in eps, the largest first, and share their attack, which may
            remember a batch from one to the next (Attack.together).

    Raises as `evaluate` does.
    """
    first = evaluations[0]
    for evaluation in evaluations:
        evaluation.check()
    first.model.net.to(first.device)
    _check_fit(first)
    behaviour.check_device(first.model.net, first.data, len(first.positions), first.device)
    rank, world = rank_and_world()
    with ExitStack() as opened:
        jobs = [_open(evaluation, opened, rank, world) for evaluation in evaluations]
        done = set.intersection(*(job.folder.done for job in jobs))
        chunks, mine = remaining(first, done, rank, world)
        names = ", ".join(job.folder.path.name for job in jobs)
        say(f"{names}: {sum(map(len, chunks))} of {mine} images to do")
        for job in jobs:
            _same_behaviour(job.evaluation, job.folder, say)
        if chunks:
            for job in jobs:
                _same_keeping(job.evaluation, job.folder)
            # A network may draw random numbers; the generators are restored afterwards.
            with generators_kept(first.device):
                _attack_all(jobs, chunks, mine, say)
        if rank == 0:
            for job, texts in zip(jobs, _shown_findings(jobs), strict=True):
                job.folder.note({"sanity": texts})
        return [job.folder.path for job in jobs]


def _open(evaluation: Evaluation, opened: ExitStack, rank: int, world: int) -> _Job:
    """Opens the run's folder until the stack is closed."""
    folder = RunFolder.open(evaluation.workspace, run_info(evaluation), rank, world)
    opened.enter_context(folder)
    opened.enter_context(clearing_run(folder.paths))
    return _Job(evaluation, folder)


def _check_fit(evaluation: Evaluation) -> None:
    """Raises before anything is written if the network does not fit the data."""
    few = evaluation.data.fetch(evaluation.positions[:2]).to(evaluation.device)
    with generators_kept(evaluation.device):
        check_fit(evaluation.model, evaluation.data, few)


def _shown_findings(jobs: Sequence[_Job]) -> list[list[str]]:
    """Prints once what the sanity gate says of the runs so far; returns what it says of each."""
    found = [implausible(read_run(job.folder.path)) for job in jobs]
    for text in dict.fromkeys(chain.from_iterable(found)):
        warn(text)
    return found


def _same_behaviour(evaluation: Evaluation, folder: RunFolder, say: Say) -> None:
    """Refuses to continue a run whose network, or whose data, behave differently now."""
    path, net, data = folder.paths.behaviour, evaluation.model.net, evaluation.data
    count, device = len(evaluation.positions), evaluation.device
    sealed, then = folder.info.found.get("behaviour"), behaviour.kept(path)
    if then is None:
        if sealed:
            folder.warn(f"{path.name} was deleted: whether the network changed can't be checked")
        behaviour.keep(path, behaviour.observe(net, data, count, device))
    if then is None or sealed is None:
        folder.note({"behaviour": behaviour.seal(path)})
    if then is None:
        return
    why, by_chance = behaviour.changed(net, data, count, device, then)
    if by_chance:
        warn("the network draws random numbers: whether it changed can't be checked")
    elif why:
        raise FdbenchError(
            f"{why}\n"
            f"To start over, move the old run away: fdbench runs archive {folder.path.name}\n"
            "then type the same command again. Or keep both: --results OTHER"
        )


def _same_keeping(evaluation: Evaluation, folder: RunFolder) -> None:
    """Refuses to change --save-adv within a run: it keeps all images in one format, or none."""
    kept = folder.info.found.get("save_adv")
    if folder.done and kept != evaluation.save_adv:
        how = f"with --save-adv {kept}" if kept else "without --save-adv"
        raise BadValue(
            f"{folder.path.name} was begun {how}: resume it {how}, or give another --results."
        )
    folder.note({"save_adv": evaluation.save_adv})
    if evaluation.spec.targets == "file":
        write_targets(folder.paths, evaluation.targets)


def _attack_all(jobs: Sequence[_Job], chunks: Chunks, total: int, say: Say) -> None:
    evaluation, folder = jobs[0].evaluation, jobs[0].folder
    model, device = evaluation.model, evaluation.device
    example = evaluation.data.fetch(chunks[0][:16]).to(device)
    calls: list[str] = []
    with spied(calls):
        reference = Reference(example.ids, check_fit(model, evaluation.data, example))
    if calls:
        folder.note({"network": {**folder.info.found.get("network", {}), "optimises": True}})
    classes = reference.logits.shape[1]
    for warning in evaluation.attack.warnings(evaluation.spec, model.weights, classes):
        warn(warning)
        folder.warn(warning)
    if slow := precision.emulated(evaluation.precision, device):
        warn(slow)
    net = _attacked(evaluation, example, folder, say)
    cut = fitting(evaluation, net, example.x[:2], chunks, device)
    if cut != chunks:
        say(f"batches of {len(cut[0])} images, to fit in memory")
    limit = BatchLimit(device, partial(_note_halving, evaluation, folder))
    done = total - sum(map(len, chunks))
    with progress(model.name, total, "images", done) as advance:
        watched = Watched(net)
        sessions = [
            Session(job.evaluation, watched, reference, job.folder, _mute if number else advance)
            for number, job in enumerate(jobs)
        ]
        for number, batch in enumerate(evaluation.data.stream(cut), 1):
            limit.run(batch, partial(_attack_in_turn, sessions))
            tidy()
            if number == 1 < len(cut):
                _shown_findings(jobs[:1])  # before hours are spent on the others


def _attack_in_turn(sessions: Sequence[Session], batch: Batch) -> None:
    for session in sessions:
        session.attack(batch)


def _mute(n: int | float, **fields: object) -> None:
    """Shows no progress: the first of several evaluations shows it for all."""


def _attacked(evaluation: Evaluation, example: Batch, folder: RunFolder, say: Say) -> nn.Module:
    """Returns the network to attack: the fast copy, in the precision given or measured as best."""
    if not evaluation.spec.parameters.sees_network:
        return _Unseen()
    chosen = evaluation.precision
    if chosen == "auto":
        trial = precision.settle(folder.path, partial(_try_precisions, evaluation))
        folder.note({"precision": trial})
        chosen = trial["chosen"]
        say(f"precision {chosen}: {trial.get('why', 'as tried when the run began')}")
    compiled = evaluation.compile
    net, why_not = accelerate(evaluation.model.net, example.x, chosen, compiled=compiled)
    if why_not:
        folder.warn(why_not)
    return net


def _try_precisions(evaluation: Evaluation) -> dict[str, Any]:
    positions = evaluation.positions[: precision.LOOKS[-1]]
    batches = evaluation.data.batches(positions, precision.PART)
    return precision.compare(
        evaluation.model.net,
        (batch.to(evaluation.device) for batch in batches),
        len(evaluation.positions),
        evaluation.attack,
        evaluation.spec,
        evaluation.seed,
    )


def _note_halving(evaluation: Evaluation, folder: RunFolder, size: int, half: int) -> None:
    text = f"out of memory at {size} images a batch: went on with {half}"
    if evaluation.draws != "image":
        text += "; this attack draws per batch: its random numbers differ from those of whole ones"
    warn(text)
    folder.warn(text)
