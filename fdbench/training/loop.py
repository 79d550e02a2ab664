"""The training loop. It knows no architecture and no attack: a `Learner` provides both."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fdbench.console import progress, warn
from fdbench.errors import FdbenchError
from fdbench.machine import reproducible
from fdbench.store import Damaged, locked
from fdbench.training.learner import Learner
from fdbench.training.state import Entry, Position, load_state, save_state
from fdbench.types import Batch

Say = Callable[[str], None]


def train(learner: Learner, *, fresh: bool, say: Say, save_every: float | None = None) -> Path:
    """Trains, or resumes, and returns the path of the final weights.

    The state is saved every `save_every` seconds (None: the learner's default), the most that a
    kill can lose. Raises FdbenchError if a file of that name belongs to another training or another
    process is training it, and if the loss or its gradient is not finite; the last saved state is
    kept.
    """
    with locked(learner.state, "training"), reproducible(learner.device):
        return _train(learner, fresh, say, learner.save_every if save_every is None else save_every)


def _train(learner: Learner, fresh: bool, say: Say, pause: float) -> Path:
    if fresh:
        learner.state.unlink(missing_ok=True)
        learner.weights.unlink(missing_ok=True)
    if not learner.state.exists() and learner.finished():
        say(f"{learner.weights}: trained already, nothing left to do.")
        return learner.weights
    at = _first_position(learner, say)
    loader = learner.loader
    total = learner.epochs * loader.seen
    done = at.epoch * loader.seen + at.step * loader.batch
    with progress(f"train {learner.name}", total, "images", done) as advance:
        while at.epoch < learner.epochs:
            _run_epoch(learner, at, advance, pause)
            at = _close_epoch(learner, at, say)
    learner.finish(at)
    learner.state.unlink(missing_ok=True)
    return learner.weights


def _save(learner: Learner, at: Position) -> None:
    save_state(learner.state, learner.net, learner.optimiser, learner.identity, at)


def _first_position(learner: Learner, say: Say) -> Position:
    """Restores the saved state and returns its position; without one, saves the initial state."""
    if not learner.state.exists():
        at = Position()
        _save(learner, at)  # an unwritable folder is reported before an hour's work
        return at
    try:
        at = load_state(learner.state, learner.net, learner.optimiser, learner.identity)
    except Damaged as reason:
        aside = learner.state.with_name(f"{learner.state.name}.damaged")
        learner.state.replace(aside)
        warn(f"{reason.message}\nIt is kept as {aside.name}, and the training starts over.")
        return _first_position(learner, say)
    steps = learner.loader.steps
    say(f"continuing {learner.name} at epoch {at.epoch + 1}, batch {at.step} of {steps}")
    return at


def _run_epoch(
    learner: Learner, at: Position, advance: Callable[[float], None], save_every: float
) -> None:
    """Trains on the rest of the epoch, saving the state every `save_every` seconds."""
    saved = started = time.monotonic()
    passes = learner.attack_passes + 2  # the step itself costs about two attack iterations
    for batch in learner.loader.batches(at.epoch, at.step):
        images = len(batch.ids)
        learn(learner, batch.to(learner.device), at, partial(advance, images / passes))
        advance(2 * images / passes)
        now = time.monotonic()
        if now - saved >= save_every:
            _note_time(learner, at, now - started)
            _save(learner, at)
            saved, started = now, now
    _note_time(learner, at, time.monotonic() - started)


def _note_time(learner: Learner, at: Position, seconds: float) -> None:
    if learner.timed:
        at.add(seconds=seconds)


def learn(learner: Learner, batch: Batch, at: Position, tick: Callable[[], None]) -> None:
    """Takes one step. Raises FdbenchError, before any weight changes, if the loss is not finite."""
    lesson = learner.loss(batch, at, tick)
    learner.optimiser.zero_grad()
    lesson.loss.backward()  # type: ignore[no-untyped-call]
    _refuse_nonfinite(learner, lesson.loss, at)
    steps = learner.loader.steps
    share = (at.epoch * steps + at.step) / (learner.epochs * steps)
    for group in learner.optimiser.param_groups:
        group["lr"] = learner.lr_at(share)
    learner.optimiser.step()
    at.step += 1
    at.add(loss=lesson.loss.item() * len(batch.ids))
    at.add(**{name: int(count) for name, count in lesson.counts.items()})


def _refuse_nonfinite(learner: Learner, loss: Tensor, at: Position) -> None:
    grads = [p.grad for p in learner.net.parameters() if p.grad is not None]
    size = torch.nn.utils.get_total_norm(grads)
    if not torch.isfinite(loss.detach() + size):
        raise FdbenchError(
            f"training stopped at epoch {at.epoch + 1}, batch {at.step + 1}: "
            f"the loss ({loss.item():g}) or its gradient ({size.item():g}) is not finite.\n"
            f"The last good weights are kept in {learner.weights.parent}. Try a smaller --lr."
        )


def _close_epoch(learner: Learner, at: Position, say: Say) -> Position:
    """Logs the epoch, keeps its weights if the best so far, and returns the next position."""
    entry = _entry(learner, at)
    score, best = learner.score(entry), at.best
    chosen = score is not None and (best is None or score >= best)
    log = [*at.log, entry]
    following = Position(epoch=at.epoch + 1, best=score if chosen else best, log=log)
    if chosen:
        learner.keep(following)
    _save(learner, following)
    say(_line(learner, entry) + ("  kept" if chosen else ""))
    return following


def _entry(learner: Learner, at: Position) -> Entry:
    seen = learner.loader.seen
    entry: Entry = {"epoch": at.epoch + 1, "loss": at.sums["loss"] / seen}
    entry |= {rate: at.sums[count] / seen for count, rate in learner.rates.items()}
    entry |= learner.probe()
    if learner.timed:
        entry["images_per_second"] = seen / at.sums["seconds"]
    return entry


def _line(learner: Learner, entry: Entry) -> str:
    text = f"epoch {entry['epoch']}/{learner.epochs}  loss {entry['loss']:.3f}"
    for name, label in learner.labels.items():
        if name in entry:
            text += f"  {label} {100 * entry[name]:.1f} %"
    return text + (f"  {entry['images_per_second']:.0f} images/s" if learner.timed else "")
