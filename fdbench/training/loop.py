"""Train a network to its end, from wherever its last checkpoint stands."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fdbench.console import progress
from fdbench.errors import BadValue
from fdbench.machine import environment
from fdbench.models import Card, load_card, save_card, weights_hash
from fdbench.training.adversarial import Position, Trainer, Training
from fdbench.training.state import refuse_other

SAVE_EVERY = 60.0  # seconds of work that a kill may cost

Say = Callable[[str], None]


def train(job: Training, *, fresh: bool, say: Say, save_every: float = SAVE_EVERY) -> Path:
    """The path of the chosen weights. The same job again continues, or finds nothing to do.

    Raises FdbenchError if a checkpoint of that name belongs to another training, and if the loss
    stops being finite; the last good checkpoint is kept.
    """
    if fresh:
        job.state.unlink(missing_ok=True)
        job.weights.unlink(missing_ok=True)
    if not job.state.exists() and _finished(job):
        say(f"{job.weights}: trained already, nothing left to do.")
        return job.weights
    trainer = Trainer(job)
    if job.state.exists():
        trainer.resume()
        at = trainer.at
        say(f"continuing {job.name} at epoch {at.epoch + 1}, batch {at.step} of {job.steps}")
    else:
        trainer.save()  # a folder that can't be written is known before an hour's work
    total = job.spec.epochs * job.steps * job.batch
    done = (trainer.at.epoch * job.steps + trainer.at.step) * job.batch
    with progress(f"train {job.name}", total, "images", done) as advance:
        while trainer.at.epoch < job.spec.epochs:
            _epoch(trainer, advance, save_every)
            _close_epoch(trainer, say)
    return _finish(trainer)


def _finished(job: Training) -> bool:
    if not job.weights.exists():
        return False
    card = load_card(job.weights)[1]
    if "identity" not in card.data:
        raise BadValue(
            f"{job.weights} was not trained here: it comes from {card.source}.\n"
            "--name gives this training another name, --fresh replaces those weights."
        )
    refuse_other(job.identity, card.data["identity"], job.weights)
    return card.finished


def _epoch(trainer: Trainer, advance: Callable[[float], None], save_every: float) -> None:
    spec, at = trainer.job.spec, trainer.at
    saved = started = time.monotonic()
    passes = 2 if spec.clean else spec.attack_iters + 2  # learning costs about two attack steps
    for batch in trainer.batches():
        tick = partial(advance, len(batch.ids) / passes)
        trainer.learn(batch, tick)
        advance(2 * len(batch.ids) / passes)
        now = time.monotonic()
        if now - saved >= save_every:
            at.seconds += now - started
            trainer.save()
            saved, started = now, now
    at.seconds += time.monotonic() - started


def _close_epoch(trainer: Trainer, say: Say) -> None:
    """Logs the epoch, keeps its weights if they are the best so far, and moves on."""
    job, at = trainer.job, trainer.at
    seen = job.steps * job.batch
    entry: dict[str, Any] = {
        "epoch": at.epoch + 1,
        "loss": at.loss / seen,
        "train_accuracy": at.correct / seen,
        **trainer.probe(),
        "images_per_second": seen / at.seconds,
    }
    score = entry.get("held_out_pgd", entry["held_out_clean"])
    best = score >= at.best
    log = [*at.log, entry]
    trainer.at = Position(epoch=at.epoch + 1, best=max(score, at.best), log=log)
    if best:
        _save_weights(trainer)
    trainer.save()
    say(_line(entry, job.spec.epochs, best))


def _line(entry: dict[str, Any], epochs: int, best: bool) -> str:
    text = f"epoch {entry['epoch']}/{epochs}  loss {entry['loss']:.3f}"
    text += f"  train {100 * entry['train_accuracy']:.1f} %"
    text += f"  held-out clean {100 * entry['held_out_clean']:.1f} %"
    if "held_out_pgd" in entry:
        text += f"  PGD {100 * entry['held_out_pgd']:.1f} %"
    return text + f"  {entry['images_per_second']:.0f} images/s" + ("  kept" if best else "")


def _save_weights(trainer: Trainer) -> None:
    job, at = trainer.job, trainer.at
    state = trainer.net.state_dict()
    card = Card(
        name=job.name,
        spec=job.model,
        train=job.spec,
        data={
            "name": job.train.name,
            "classes": job.train.classes,
            "px": job.train.px,
            "identity": job.identity,
        },
        epochs=at.epoch,
        log=tuple(at.log),
        environment=environment(job.device),
        weights=weights_hash(state),
    )
    save_card(job.weights, state, card)


def _finish(trainer: Trainer) -> Path:
    """Marks the chosen weights as final and drops the state that only resuming needs."""
    job = trainer.job
    state, card = load_card(job.weights)
    save_card(job.weights, state, replace(card, finished=True, log=tuple(trainer.at.log)))
    job.state.unlink()
    return job.weights
