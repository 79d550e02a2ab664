"""The training loop. It knows no architecture and no attack: a `Learner` provides both."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from fdbench.console import progress, warn
from fdbench.errors import FdbenchError
from fdbench.machine import peak_bytes, reproducible
from fdbench.store import Damaged, locked
from fdbench.training.begun import Begun
from fdbench.training.course import Course
from fdbench.training.curves import write_log
from fdbench.training.learner import Learner, Lesson
from fdbench.training.loader import shares
from fdbench.training.state import Entry, Position, load_state, save_state, send_state
from fdbench.training.statistics import Statistics
from fdbench.training.team import ALONE, Team, known_to_all
from fdbench.types import Batch

Say = Callable[[str], None]
Between = Callable[[Begun], None]


def train(
    learner: Learner,
    *,
    fresh: bool,
    say: Say,
    save_every: float | None = None,
    team: Team = ALONE,
    accumulate: int = 1,
    log: Path | None = None,
) -> Path:
    """Trains, or resumes, and returns the path of the final weights.

    The state is saved every `save_every` seconds (None: the learner's default), the most that a
    kill can lose. Raises FdbenchError if a file of that name belongs to another training or another
    process is training it, and if the loss or its gradient is not finite; the last saved state is
    kept.
    """
    shares(learner.loader.batch, team.world * accumulate)  # refused before anything is written
    pause = learner.save_every if save_every is None else save_every
    course = Course(team, accumulate, pause, log)
    lock = locked(learner.state, "training") if team.leads else nullcontext()
    with lock, reproducible(learner.device):
        return _train(learner, fresh, say, course)


def _train(learner: Learner, fresh: bool, say: Say, course: Course) -> Path:
    team, loader = course.team, learner.loader
    mine = _prepared(learner, fresh, say) if team.leads else None
    found = team.agree(None if mine is None else mine.to_json())
    if found is None:
        return learner.weights
    at = Position.of_json(found) if mine is None or team.world > 1 else mine
    send_state(learner.net, learner.optimiser, learner.average, team)
    learner.join(team)
    total = learner.epochs * loader.seen
    done = at.epoch * loader.seen + at.step * loader.batch
    if at.begun is not None:
        done += loader.batch * at.begun.done // at.begun.pieces
    watched = progress(f"train {learner.name}", total, "images", done) if team.leads else None
    with watched or nullcontext(_unseen) as advance:
        while at.epoch < learner.epochs and not (why := learner.enough(at)):
            _run_epoch(learner, at, advance, course)
            at = _close_epoch(learner, at, say, course)
    if team.leads:
        if at.epoch < learner.epochs:
            say(f"{learner.name} ends after epoch {at.epoch} of {learner.epochs}: {why}")
        learner.finish(at)
        learner.state.unlink(missing_ok=True)
    return learner.weights


def _unseen(images: float) -> None:
    """Another process shows the progress."""


def _prepared(learner: Learner, fresh: bool, say: Say) -> Position | None:
    """Returns the first position, the state being loaded; None if nothing is left to do."""
    if fresh:
        learner.state.unlink(missing_ok=True)
        learner.weights.unlink(missing_ok=True)
    if not learner.state.exists() and learner.finished():
        say(f"{learner.weights}: trained already, nothing left to do.")
        return None
    return _first_position(learner, say)


def _save(learner: Learner, at: Position) -> None:
    save_state(learner.state, learner.net, learner.optimiser, learner.identity, at, learner.average)


def _first_position(learner: Learner, say: Say) -> Position:
    """Restores the saved state and returns its position; without one, saves the initial state."""
    if not learner.state.exists():
        at = Position()
        _save(learner, at)  # an unwritable folder is reported before an hour's work
        return at
    try:
        at = load_state(
            learner.state, learner.net, learner.optimiser, learner.identity, learner.average
        )
    except Damaged as reason:
        aside = learner.state.with_name(f"{learner.state.name}.damaged")
        learner.state.replace(aside)
        warn(f"{reason.message}\nIt is kept as {aside.name}, and the training starts over.")
        return _first_position(learner, say)
    steps = learner.loader.steps
    piece = f", piece {at.begun.done} of {at.begun.pieces}" if at.begun else ""
    say(f"continuing {learner.name} at epoch {at.epoch + 1}, batch {at.step} of {steps}{piece}")
    return at


def _run_epoch(
    learner: Learner, at: Position, advance: Callable[[float], None], course: Course
) -> None:
    """Trains on the rest of the epoch; where memory runs out, in smaller pieces from there on."""
    while at.step < learner.loader.steps:
        try:
            _run_steps(learner, at, advance, course)
        except (RuntimeError, MemoryError) as reason:
            course.halve(reason, learner.loader.batch)


def _run_steps(
    learner: Learner, at: Position, advance: Callable[[float], None], course: Course
) -> None:
    """Trains on the rest of the epoch, saving the state every `pause` seconds.

    One process saves it between two pieces of a batch too, unless batches are replayed: what a
    replay carries over is not saved.
    """
    saved = started = time.monotonic()
    team, images = course.team, learner.loader.batch
    passes = learner.attack_passes + 2  # the step itself costs about two attack iterations
    tick = partial(advance, images / passes / course.accumulate)
    stream = learner.loader.pieces(at.epoch, at.step, team, course.accumulate)

    def between(begun: Begun) -> None:
        nonlocal saved, started
        now = time.monotonic()
        if now - saved >= course.pause:
            _note_time(learner, at, now - started)
            at.begun = begun
            _save(learner, at)
            at.begun, saved, started = None, now, now

    within = None if team.world > 1 or learner.loader.replays > 1 else between
    while pieces := tuple(islice(stream, course.accumulate)):
        learn(learner, pieces, at, tick, team, within)
        advance(2 * images / passes)
        now = time.monotonic()
        due = team.leads and now - saved >= course.pause
        if learner.rests(at) and team.total({"due": float(due)})["due"]:
            _note_time(learner, at, now - started)
            if team.leads:
                _save(learner, at)
            saved, started = now, now
    _note_time(learner, at, time.monotonic() - started)


def _note_time(learner: Learner, at: Position, seconds: float) -> None:
    if learner.timed:
        at.add(seconds=seconds)


def learn(
    learner: Learner,
    pieces: Sequence[Batch],
    at: Position,
    tick: Callable[[], None],
    team: Team = ALONE,
    between: Between | None = None,
) -> None:
    """Takes one step on this process's pieces of a batch, or on those not learnt yet.

    `between` is called after each piece but the last. Raises FdbenchError, before any weight
    changes, if the loss is not finite.
    """
    statistics = Statistics(learner.net)
    learner.optimiser.zero_grad()
    begun, at.begun = at.begun, None
    if begun is not None and begun.pieces != len(pieces):
        begun = None  # another --accumulate: the batch is learnt from its beginning
    if begun is not None:
        begun.restore(learner.net, statistics)
    try:
        sums = _gather(learner, pieces, at, tick, team, statistics, begun, between)
    except (RuntimeError, MemoryError):
        statistics.restore()
        raise
    sums = team.total(sums)
    _refuse_nonfinite(learner, sums["loss"], at)
    if team.world * len(pieces) > 1:
        statistics.settle(team)
    steps = learner.loader.steps
    done = at.epoch * steps + at.step
    for group in learner.optimiser.param_groups:
        group["lr"] = learner.lr_at(done / (learner.epochs * steps))
    learner.optimiser.step()
    learner.stepped(done + 1)
    at.step += 1
    at.add(loss=sums.pop("loss"))
    at.add(**{name: int(count) for name, count in sums.items()})


def _gather(
    learner: Learner,
    pieces: Sequence[Batch],
    at: Position,
    tick: Callable[[], None],
    team: Team,
    statistics: Statistics,
    begun: Begun | None,
    between: Between | None,
) -> dict[str, int | float]:
    """Leaves the gradient of the whole batch; returns this process's sums of loss and counts.

    Gradients are exchanged in the last backward; before it, all know whether one lacks memory.
    """
    first = 0 if begun is None else begun.done
    sums = defaultdict[str, int | float](float, {} if begun is None else begun.sums)
    total = sum(len(piece.ids) for piece in pieces) if team.world == 1 else learner.loader.batch

    def forward(piece: Batch) -> tuple[Tensor, Lesson]:
        lesson = learner.loss(piece.to(learner.device), at, tick)
        share = len(piece.ids) / total
        statistics.note(share)
        # DistributedDataParallel takes the mean over processes.
        return lesson.loss if share == 1 else lesson.loss * (share * team.world), lesson

    def backward(piece: Batch, loss: Tensor, lesson: Lesson) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        sums["loss"] += lesson.loss.item() * len(piece.ids)  # after it, so as not to wait for a GPU
        for name, count in lesson.counts.items():
            sums[name] += int(count)

    def begin() -> tuple[Tensor, Lesson]:  # all but the last backward
        with learner.unsent():
            for number, piece in enumerate(pieces[first:-1], first + 1):
                backward(piece, *forward(piece))
                statistics.restore()
                if between is not None:
                    between(Begun.of(learner.net, statistics, len(pieces), number, sums))
        return forward(pieces[-1])

    together = team.world > 1 and not learner.converses
    backward(pieces[-1], *(known_to_all(team, begin) if together else begin()))
    return dict(sums)


def _refuse_nonfinite(learner: Learner, loss: int | float, at: Position) -> None:
    grads = [p.grad for p in learner.net.parameters() if p.grad is not None]
    size = torch.nn.utils.get_total_norm(grads)
    if not torch.isfinite(size + loss):
        raise FdbenchError(
            f"training stopped at epoch {at.epoch + 1}, batch {at.step + 1}: "
            f"the loss ({loss / learner.loader.batch:g}) or its gradient ({size.item():g}) is not "
            f"finite.\nThe last good weights are kept in {learner.weights.parent}. Try a smaller "
            "--lr."
        )


def _close_epoch(learner: Learner, at: Position, say: Say, course: Course) -> Position:
    """Logs the epoch, keeps its weights if the best so far, and returns the next position."""
    entry = _entry(learner, at, course.team)
    score, best = learner.score(entry), at.best
    chosen = score is not None and (best is None or score >= best)
    log = [*at.log, entry]
    following = Position(epoch=at.epoch + 1, best=score if chosen else best, log=log)
    if course.team.leads:
        if chosen:
            learner.keep(following)
        _save(learner, following)
        if course.log is not None:
            write_log(course.log, following.log)
        say(_line(learner, entry) + ("  kept" if chosen else ""))
    return following


def _entry(learner: Learner, at: Position, team: Team) -> Entry:
    seen = learner.loader.seen
    entry: Entry = {"epoch": at.epoch + 1, "loss": at.sums["loss"] / seen}
    entry |= {rate: at.sums[count] / seen for count, rate in learner.rates.items()}
    entry |= learner.probe()
    if learner.timed:
        entry["images_per_second"] = seen / at.sums["seconds"]
        if (peak := peak_bytes(learner.device)) is not None:
            entry["peak_mb"] = round(peak / 2**20)
    if team.world > 1:
        entry["processes"] = team.world
    return entry


def _line(learner: Learner, entry: Entry) -> str:
    text = f"epoch {entry['epoch']}/{learner.epochs}  loss {entry['loss']:.3f}"
    for name, label in learner.labels.items():
        if name in entry:
            text += f"  {label} {100 * entry[name]:.1f} %"
    return text + (f"  {entry['images_per_second']:.0f} images/s" if learner.timed else "")
