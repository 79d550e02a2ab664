"""The evaluation loop, in one direction: batch -> attack -> verify -> predict -> rows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fdbench import randomness
from fdbench.attacks import DRAWS, Subject, choose_targets
from fdbench.console import Advance, progress, warn
from fdbench.errors import BadValue, FdbenchError
from fdbench.evaluation import behaviour, precision
from fdbench.evaluation.batching import Chunks, fitting, remaining
from fdbench.evaluation.evaluation import Evaluation, check_fit, run_info
from fdbench.evaluation.observation import Facts, Reference, Watched, facts_of, spied
from fdbench.evaluation.readings import Worst, draw_again, rows_of, worst_of
from fdbench.machine import BatchLimit, rank_and_world, tidy
from fdbench.models import accelerate
from fdbench.reporting import implausible
from fdbench.store import (
    BatchScratch,
    Row,
    RunFolder,
    Shard,
    added,
    clearing_run,
    read_run,
    whole_pixels,
    write_png,
    write_shard,
    write_targets,
)
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels, Logits
from fdbench.verdict import Referee, logits_of

Say = Callable[[str], None]


class _Unseen(nn.Module):
    """Replaces the victim in a black-box attack, which must never query it."""

    def forward(self, x: Images) -> Logits:
        raise AssertionError("a black-box attack asked the network it is judged on")


class _Meter:
    """Reports a batch's passes as progress: at most the batch, and all of it at the end."""

    def __init__(self, advance: Advance, images: int, steps: int) -> None:
        self._images = self._left = float(images)
        self._advance, self._step = advance, images / steps

    def __call__(self, share: float = 1.0, stage: str = "") -> None:
        done = min(self._left, share * self._step)
        self._left -= done
        self._advance(done, **({"stage": stage} if stage else {}))

    def finish(self) -> None:
        self._advance(self._left)
        self._left = 0.0

    def undo(self) -> None:
        self._advance(self._left - self._images)
        self._left = self._images


@dataclass
class _Session:
    """What all batches of a session share."""

    evaluation: Evaluation
    net: Watched  # the network to attack
    reference: Reference
    folder: RunFolder
    advance: Advance
    judged: int = 0
    robust: int = 0  # of the judged images: right under every reading

    @property
    def classes(self) -> int:
        return int(self.reference.logits.shape[1])

    def attack(self, cpu: Batch) -> None:
        """Attacks one batch and writes its rows to disk, after any images that are kept."""
        batch = cpu.to(self.evaluation.device)
        cost = self.evaluation.attack.cost(self.evaluation.spec)
        meter = _Meter(self.advance, len(batch.ids), cost)
        try:
            self._attack(batch, meter)
        except BaseException:
            meter.undo()
            raise
        meter.finish()

    def _attack(self, batch: Batch, meter: _Meter) -> None:
        evaluation = self.evaluation
        net, spec = evaluation.model.net, evaluation.spec
        seed, most = evaluation.seed, evaluation.most
        # Before the network is first asked: it may draw random numbers.
        torch.manual_seed(randomness.integer(seed, "network", batch.ids[0], 2**63))
        threat, target = Threat(spec.norm, spec.eps), self._targets(batch)
        judge = Referee(net, batch, threat, most)
        folder = self.folder
        scratch = BatchScratch(folder.paths.scratch(folder.rank), batch.ids, folder.info.key)
        self.net.begin(batch.label)
        subject = Subject(
            self.net, batch, target, threat, seed, judge, meter, self.classes, scratch, most
        )
        worst = worst_of(evaluation.attack.run(subject, spec), judge, batch.label, target)
        clean = logits_of(net, batch.x, most)
        rows = rows_of(batch, target, clean.argmax(1), worst, threat)
        if self._draws_numbers(batch, clean):
            draw_again(rows, worst, judge)
        if evaluation.save_adv:
            self._keep(rows, worst, batch)
        # If a kill interrupted this batch, only its missing rows.
        self.folder.append([row for row in rows if row["image"] not in self.folder.done])
        scratch.clear()
        self._observe(facts_of(batch, target, clean, worst))
        self._show(rows)

    def _show(self, rows: list[Row]) -> None:
        """Shows the robust accuracy so far, in this session."""
        self.judged += len(rows)
        self.robust += sum(set(row["pred"].values()) == {row["label"]} for row in rows)
        accuracy = 100 * self.robust / self.judged
        self.advance(0, **{"robust accuracy": f"{accuracy:.1f} % of {self.judged}"})

    def _observe(self, facts: Facts) -> None:
        """Records what the sanity gate judges."""
        known = self.folder.info.found.get("observed", {})
        self.folder.note({"observed": added(known, {**self.net.facts(), **facts})})

    def _draws_numbers(self, batch: Batch, clean: Logits) -> bool:
        """Returns whether the network draws random numbers, and records it with its outputs."""
        known = self.folder.info.found.get("network", {})
        network = {"outputs": self.classes, **known}
        random = self.reference.differs(batch, clean)
        if random is not None:
            network["random"] = random or network.get("random", False)
        if network.get("random"):
            network["draws"] = DRAWS
        if network != known:
            self.folder.note({"network": network})
        return bool(network.get("random"))

    def _targets(self, batch: Batch) -> Labels | None:
        evaluation = self.evaluation
        if not evaluation.spec.targeted:
            return None
        made = evaluation.attack.targets(batch.ids)
        if made is not None:
            return made.to(batch.label.device)
        kind = evaluation.spec.targets
        return choose_targets(
            kind, batch, self.classes, evaluation.seed, evaluation.model.net, evaluation.targets
        )

    def _keep(self, rows: list[Row], worst: dict[str, Worst], batch: Batch) -> None:
        """Writes images before rows, so that a row never names a missing shard."""
        paths = self.folder.paths
        images = {name: reading.adv for name, reading in worst.items()}
        shard = write_shard(paths.images, Shard(batch.ids, images))
        if self.evaluation.save_adv == "png":
            for name, adv in images.items():
                pixels = whole_pixels(adv, batch.x, self.evaluation.spec.eps)
                for image, one in zip(batch.ids, pixels, strict=True):
                    write_png(paths.png(name, image), one)
        for row in rows:
            row["shard"] = shard


def evaluate(evaluation: Evaluation, say: Say) -> Path:
    """Attacks the remaining images and returns the run's folder.

    Rows of finished batches are on disk before the next batch starts; the same evaluation resumes.
    Raises BadValue for invalid settings, IllegalAdversary if an attack leaves its threat model.
    """
    evaluation.check()
    evaluation.model.net.to(evaluation.device)
    _check_fit(evaluation)
    rank, world = rank_and_world()
    opened = RunFolder.open(evaluation.workspace, run_info(evaluation), rank, world)
    with opened as folder, clearing_run(folder.paths):
        chunks, mine = remaining(evaluation, folder.done, rank, world)
        say(f"{folder.path.name}: {sum(map(len, chunks))} of {mine} images to do")
        _same_behaviour(evaluation, folder, say)
        if chunks:
            _same_keeping(evaluation, folder)
            if evaluation.spec.targets == "file":
                write_targets(folder.paths, evaluation.targets)
            # A network may draw random numbers; the generators are restored afterwards.
            cuda = [evaluation.device] if evaluation.device.type == "cuda" else []
            with torch.random.fork_rng(cuda):
                _attack_all(evaluation, chunks, mine, folder, say)
        if rank == 0:
            folder.note({"sanity": _show_findings(folder)})
        return folder.path


def _check_fit(evaluation: Evaluation) -> None:
    """Raises before anything is written if the network does not fit the data."""
    few = evaluation.data.fetch(evaluation.positions[:2]).to(evaluation.device)
    cuda = [evaluation.device] if evaluation.device.type == "cuda" else []
    with torch.random.fork_rng(cuda):
        check_fit(evaluation.model, evaluation.data, few)


def _show_findings(folder: RunFolder) -> list[str]:
    """Prints what the sanity gate says of the run so far, and returns it."""
    texts = implausible(read_run(folder.path))
    for text in texts:
        warn(text)
    return texts


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


def _attack_all(
    evaluation: Evaluation, chunks: Chunks, total: int, folder: RunFolder, say: Say
) -> None:
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
        session = _Session(evaluation, Watched(net), reference, folder, advance)
        for number, batch in enumerate(evaluation.data.stream(cut), 1):
            limit.run(batch, session.attack)
            tidy()
            if number == 1 < len(cut):
                _show_findings(folder)  # before hours are spent on the others


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
