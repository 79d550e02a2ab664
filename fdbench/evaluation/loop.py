"""The loop: batch -> attack -> verify -> predict -> rows. No way back, no second judge."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fdbench import machine, randomness
from fdbench.attacks import Runner, Setting, Subject, choose_targets
from fdbench.console import progress
from fdbench.errors import BadValue
from fdbench.evaluation import precision
from fdbench.evaluation.job import BATCH, Evaluation, check_fit, check_targets, plan, run_info
from fdbench.evaluation.readings import Worst, rows_of, worst_of
from fdbench.machine import rank_and_world
from fdbench.models import accelerate
from fdbench.registry import imported
from fdbench.store import (
    BatchScratch,
    Row,
    RunFolder,
    Shard,
    Workspace,
    row_digest,
    whole_pixels,
    write_png,
    write_shard,
)
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels, Logits
from fdbench.verdict import Referee, predict


class _Unseen(nn.Module):
    """Stands where the network would: a black-box attack has no business asking it."""

    def forward(self, x: Images) -> Logits:
        raise AssertionError("a black-box attack asked the network it is judged on")


class _Meter:
    """Tells the progress bar of a batch's steps: never of more than the batch, at last of all."""

    def __init__(self, advance: Callable[[float], None], images: int, steps: int) -> None:
        self._images = self._left = float(images)
        self._advance, self._step = advance, images / steps

    def __call__(self, share: float = 1.0) -> None:
        done = min(self._left, share * self._step)
        self._left -= done
        self._advance(done)

    def finish(self) -> None:
        self._advance(self._left)
        self._left = 0.0

    def undo(self) -> None:
        self._advance(self._left - self._images)
        self._left = self._images


@dataclass
class _Bench:
    """What all batches of a session share; `most` shrinks when memory runs out."""

    job: Evaluation
    net: nn.Module
    classes: int
    folder: RunFolder
    most: int = sys.maxsize  # images a batch

    def attack(self, batch: Batch, advance: Callable[[float], None]) -> None:
        """Puts the rows of one batch on the disk; kept images are there before them."""
        steps: int = imported(self.job.entry.steps)(self.job.attack)
        meter = _Meter(advance, len(batch.ids), steps)
        try:
            self._attack(batch, meter)
        except BaseException:
            meter.undo()
            raise
        meter.finish()

    def _attack(self, batch: Batch, meter: _Meter) -> None:
        job, threat = self.job, Threat(self.job.attack.norm, self.job.attack.eps)
        torch.manual_seed(randomness.integer(job.seed, "network", batch.ids[0], 2**63))
        target = self._targets(batch)
        judge = Referee(job.model.net, batch, threat, job.most)
        scratch = BatchScratch(self.folder.paths.scratch(self.folder.rank), batch.ids)
        subject = Subject(
            self.net, batch, target, threat, job.seed, judge, meter, self.classes, scratch,
            job.results, job.most,
        )  # fmt: skip
        run: Runner = imported(job.entry.run)
        worst = worst_of(run(subject, job.attack), judge, batch.label, target)
        rows = rows_of(batch, target, predict(job.model.net, batch.x, job.most), worst, threat)
        if job.save_adv:
            self._keep(rows, worst, batch)
        for row in rows:
            row["check"] = row_digest(row)
        # Of a batch that a kill tore, only what is missing.
        self.folder.append([row for row in rows if row["image"] not in self.folder.done])
        scratch.clear()

    def _targets(self, batch: Batch) -> Labels | None:
        job = self.job
        if not job.attack.targeted:
            return None
        if job.entry.targets:
            made: Labels = imported(job.entry.targets)(job.results, job.attack, batch.ids)
            return made.to(batch.label.device)
        kind = job.attack.targets
        return choose_targets(kind, batch, self.classes, job.seed, job.model.net, job.targets)

    def _keep(self, rows: list[Row], worst: dict[str, Worst], batch: Batch) -> None:
        """Images first, rows after: a row never names a shard that is not there."""
        paths = self.folder.paths
        images = {name: reading.adv for name, reading in worst.items()}
        shard = write_shard(paths.images, Shard(batch.ids, images))
        if self.job.save_adv == "png":
            for name, adv in images.items():
                pixels = whole_pixels(adv, batch.x, self.job.attack.eps)
                for image, one in zip(batch.ids, pixels, strict=True):
                    write_png(paths.png(name, image), one)
        for row in rows:
            row["shard"] = shard


def evaluate(job: Evaluation, say: Callable[[str], None]) -> Path:
    """Attacks what is not yet attacked and returns the run's folder.

    Rows of finished batches are on disk before the next batch starts; the same job again goes on
    where it stopped. Raises IllegalAdversary if an attack leaves its threat model.
    """
    if job.save_adv == "png" and job.attack.norm != "linf":
        raise BadValue(f"--save-adv png rounds within linf balls, not {job.attack.norm}'s: float.")
    if job.attack.targets == "file":
        check_targets(job)
    job.model.net.to(job.device)
    rank, world = rank_and_world()
    with RunFolder.open(Workspace(job.results), run_info(job), rank) as folder:
        chunks, mine = plan(job, folder.done, rank, world)
        todo = sum(map(len, chunks))
        say(f"{folder.path.name}: {todo} of {mine} images to do")
        if chunks:
            _same_keeping(job, folder)
            # A network may draw random numbers: from generators that are left as they were.
            with torch.random.fork_rng([job.device] if job.device.type == "cuda" else []):
                _attack_all(job, chunks, mine, folder, say)
        return folder.path


def _same_keeping(job: Evaluation, folder: RunFolder) -> None:
    """A run keeps all of its images, in one way, or none."""
    kept = folder.info.found.get("save_adv")
    if folder.done and kept != job.save_adv:
        how = f"with --save-adv {kept}" if kept else "without --save-adv"
        raise BadValue(f"{folder.path.name} was begun {how}: continue it so, or give --results.")
    folder.note({"save_adv": job.save_adv})


def _attack_all(
    job: Evaluation,
    chunks: list[list[int]],
    total: int,
    folder: RunFolder,
    say: Callable[[str], None],
) -> None:
    example = job.data.fetch(chunks[0][:16]).to(job.device)
    classes = check_fit(job.model, job.data, example)
    setting = Setting(job.results, job.model.weights, classes)
    for warning in imported(job.entry.warns)(job.attack, setting) if job.entry.warns else ():
        say(f"warning: {warning}")
        folder.warn(warning)
    net = _attacked(job, example, folder)
    bench = _Bench(job, net, classes, folder)
    chunks = _fitting(job, net, example, chunks, say)
    done = total - sum(map(len, chunks))
    with progress(job.model.name, total, "images", done) as advance:
        for cpu_batch in job.data.stream(chunks):
            _attack_or_halve(bench, cpu_batch, advance, say)
            machine.tidy()


def _attacked(job: Evaluation, example: Batch, folder: RunFolder) -> nn.Module:
    """The network to attack: the fast copy, in the precision asked for or found best."""
    if job.entry.blind:
        return _Unseen()
    chosen = job.precision
    if chosen == "auto":
        found = precision.settle(folder.path, partial(_try_precisions, job))
        folder.note({"precision": found})
        chosen = found["chosen"]
    net, why_not = accelerate(job.model.net, example.x, chosen, compiled=job.compile)
    if why_not:
        folder.warn(why_not)
    return net


def _try_precisions(job: Evaluation) -> dict[str, Any]:
    batch = job.data.fetch(job.positions[: precision.IMAGES]).to(job.device)
    return precision.compare(job.model.net, batch, job.attack, job.seed)


def _fitting(
    job: Evaluation,
    net: nn.Module,
    example: Batch,
    chunks: list[list[int]],
    say: Callable[[str], None],
) -> list[list[int]]:
    """Smaller batches where memory would not hold these, unless their size was asked for."""
    if job.batch_size or job.entry.whole_batches or job.entry.blind:
        return chunks
    size = machine.batch_size(net, example.x[:2], job.device, BATCH)
    if size >= max(map(len, chunks)):
        return chunks
    say(f"batches of {size} images: what memory holds")
    flat = [position for chunk in chunks for position in chunk]
    return [flat[i : i + size] for i in range(0, len(flat), size)]


def _attack_or_halve(
    bench: _Bench, batch: Batch, advance: Callable[[float], None], say: Callable[[str], None]
) -> None:
    """Attacks the batch; where memory runs out, its halves, and says so in the run's record."""
    size = len(batch.ids)
    half = (size + 1) // 2
    if size <= bench.most:
        try:
            bench.attack(batch.to(bench.job.device), advance)
        except (RuntimeError, MemoryError) as reason:
            if not machine.is_out_of_memory(reason) or size == 1:
                raise
        else:
            return
        _note_halving(bench, size, half, say)
    for part in (slice(None, half), slice(half, None)):
        halved = Batch(batch.x[part], batch.label[part], batch.ids[part])
        _attack_or_halve(bench, halved, advance, say)


def _note_halving(bench: _Bench, size: int, half: int, say: Callable[[str], None]) -> None:
    if bench.job.device.type == "cuda":
        torch.cuda.empty_cache()
    bench.most = half
    text = f"out of memory at {size} images a batch: went on with {half}"
    if bench.job.entry.whole_batches:
        text += "; this attack draws per batch: its random numbers are not those of whole ones"
    say(f"warning: {text}")
    bench.folder.warn(text)
