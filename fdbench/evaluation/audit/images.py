"""The checks that look at every image: ball, box, verdict, distance, and the file it lies in."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from fdbench import verdict
from fdbench.attacks import draw_targets
from fdbench.errors import FdbenchError
from fdbench.evaluation.audit.saved import SavedRun
from fdbench.evaluation.audit.tally import Tally, plain
from fdbench.models import RELATIVE
from fdbench.store import Check, Row, Shard, as_images, read_png, read_shard, whole_pixels
from fdbench.threat import Threat
from fdbench.types import Batch, Images, Labels, Logits
from fdbench.verdict import ROUNDING

BATCH = 250  # images, where neither a shard nor the caller says


def chunks(rows: Sequence[Row], size: int | None) -> Iterator[tuple[str | None, list[Row]]]:
    """The rows of each shard, or of none, at most `size` at a time."""
    shards: dict[str | None, list[Row]] = {}
    for row in rows:
        shards.setdefault(row.get("shard"), []).append(row)
    for shard, own in shards.items():
        step = size or (BATCH if shard is None else len(own))
        yield from ((shard, own[i : i + step]) for i in range(0, len(own), step))


def _shard_fault(shard: Shard, row: Row, x: Images) -> str | None:
    """Why a shard can't be the one that was written for a row, if so."""
    if shard.ids.count(row["image"]) != 1:
        return "its shard holds it not once"
    if set(shard.tensors) != set(row["pred"]):
        return f"its shard holds {', '.join(sorted(shard.tensors))}"
    for tensor in shard.tensors.values():
        if tensor.dtype != torch.float32 or tensor.shape != (len(shard.ids), *x.shape[1:]):
            return f"its shard holds {tensor.dtype} {tuple(tensor.shape)}"
    return None


def _illegal(adv: Tensor, x: Tensor, threat: Threat) -> str | None:
    """What is wrong with one image, if anything."""
    try:
        verdict.check(adv[None], x[None], threat)
    except verdict.IllegalAdversary as reason:
        return reason.message.removeprefix("the attack ")
    return None


def _compared(logits: Logits, recorded: Labels) -> tuple[Bool[Tensor, " B"], Bool[Tensor, " B"]]:
    """Which verdicts are wrong, and which are the other side of a tie.

    Two logits closer than what two float32 computations of one network may differ by
    (accelerate.RELATIVE) are a tie: another batch size or machine may break it otherwise.
    """
    known = (recorded >= 0) & (recorded < logits.shape[1])
    own = logits.gather(1, torch.where(known, recorded, 0)[:, None])[:, 0]
    near = known & (logits.amax(1) - own <= RELATIVE * logits.abs().amax(1))  # NaN is never near
    differs = (logits.argmax(1) != recorded) | ~logits.isfinite().all(1)
    return differs & ~near, differs & near


THINGS = {  # check: what it counts
    "labels": "images",
    "shards": "images",
    "ball and box": "images",
    "clean verdicts": "verdicts",
    "verdicts": "verdicts",
    "distances": "images",
    "PNG files": "files",
    "PNG verdicts": "verdicts",
}
_OF_SHARDS = ("shards", "ball and box", "verdicts", "distances")
_OF_PNG = ("PNG files", "PNG verdicts")
_ASKED = ("clean verdicts", "verdicts", "PNG verdicts")  # of the network


class Examiner:
    """Checks a run's images as they go by, a batch at a time; `net` None asks no network."""

    def __init__(self, run: SavedRun, net: nn.Module | None, device: torch.device) -> None:
        self._run, self._net, self._device = run, net, device
        self._threat = Threat(run.info.attack.norm, run.info.attack.eps)
        self._tallies = {check: Tally(check, things) for check, things in THINGS.items()}
        self._png = run.path / "png"
        self._png_seen: set[Path] = set()
        self._ties: Counter[str] = Counter()
        self._turned = 0  # PNG images with another verdict than the exact image
        if not run.saved:
            self.drop(f"the images were not kept; to keep them: {_to_save(run)}", _OF_SHARDS)
        if not self._png.is_dir():
            self.drop("no PNG images were kept (--save-adv png)", _OF_PNG)

    def drop(self, why: str, checks: Sequence[str] = tuple(THINGS)) -> None:
        """These checks can't be made."""
        for check in checks:
            self._tallies[check].drop(why)

    def drop_verdicts(self, why: str) -> None:
        """Nothing can be said of what the network answers."""
        self._net = None
        self.drop(why, _ASKED)

    @torch.no_grad()
    def look(self, shard: str | None, rows: Sequence[Row], cpu: Batch) -> None:
        """Checks rows of one shard, or of none, against their clean images."""
        batch = cpu.to(self._device)
        if self._net is not None and not self._tallies["clean verdicts"].seen:
            self._ask_twice(self._net, batch.x)
        self._see_labels(rows, batch)
        self._see_verdicts("clean verdicts", "clean", batch.x, rows, [r["clean"] for r in rows])
        kept = {} if shard is None else self._read(shard, rows, batch.x)
        for reading, adv in kept.items():
            recorded = [row["pred"][reading] for row in rows]
            self._see_adversaries(reading, adv, rows, batch.x)
            self._see_verdicts("verdicts", reading, adv, rows, recorded)
        for reading in rows[0]["pred"] if self._png.is_dir() else ():
            self._see_pngs(reading, kept.get(reading), rows, batch.x)

    def results(self) -> list[Check]:
        """The verdicts, once all images went by."""
        for check, ties in self._ties.items():
            self._tallies[check].notes = f" ({ties} within rounding of a tie)" if ties else ""
        turned = f" computed, {self._turned} of them not the exact image's (rounding does that)"
        self._tallies["PNG verdicts"].notes = turned
        return [*(tally.result() for tally in self._tallies.values()), self._strangers()]

    def _ask_twice(self, net: nn.Module, x: Images) -> None:
        one, two = net(x), net(x)
        if (one - two).abs().max() > RELATIVE * one.abs().max():
            self.drop_verdicts("the network answers differently each time it is asked")

    def _see_labels(self, rows: Sequence[Row], batch: Batch) -> None:
        """The data's labels; and the targets, drawn again where the network says from how many."""
        info, drawn = self._run.info, None
        attack = info.attack
        aimed = attack.targeted and attack.parameters.sees_network
        if aimed and attack.targets == "random" and self._net is not None:
            classes = self._net(batch.x[:1]).shape[1]
            drawn = draw_targets(batch, classes, info.seed).tolist()
        for i, (row, label) in enumerate(zip(rows, batch.label.tolist(), strict=True)):
            target = row.get("target")
            good = row["label"] == label and target == (drawn[i] if drawn else target)
            good = good and (target is not None and target != label if aimed else True)
            found = f"image {row['image']}: label {row['label']}, target {target}"
            self._tallies["labels"].add(good, found)

    def _see_verdicts(
        self, check: str, reading: str, x: Images, rows: Sequence[Row], recorded: list[int]
    ) -> None:
        if self._net is None:
            return
        tally, logits = self._tallies[check], self._net(x)
        wrong, tied = _compared(logits, torch.tensor(recorded, device=x.device))
        for row, said, found, bad in zip(
            rows, recorded, logits.argmax(1).tolist(), wrong.tolist(), strict=True
        ):
            tally.add(not bad, f"image {row['image']}, {reading}: recorded {said}, now {found}")
        self._ties[check] += int(tied.sum())

    def _read(self, name: str, rows: Sequence[Row], x: Images) -> dict[str, Images]:
        """The adversarial images of these rows by reading; none if the shard is unsound."""
        tally = self._tallies["shards"]
        try:
            shard = read_shard(self._run.path / "adv" / name)
        except FdbenchError as reason:
            for row in rows:
                tally.add(False, f"image {row['image']}: {reason.message}")
            return {}
        faults = [_shard_fault(shard, row, x) for row in rows]
        for row, fault in zip(rows, faults, strict=True):
            tally.add(fault is None, f"image {row['image']}: {name} {fault}")
        if any(faults):
            return {}
        ids = [row["image"] for row in rows]
        return {name: shard.images(name, ids).to(x.device) for name in rows[0]["pred"]}

    def _see_adversaries(self, reading: str, adv: Images, rows: Sequence[Row], x: Images) -> None:
        distances = self._threat.distance(adv, x).tolist()
        for i, row in enumerate(rows):
            why = _illegal(adv[i], x[i], self._threat)
            self._tallies["ball and box"].add(
                why is None, f"image {row['image']}, {reading}: {why}"
            )
            if reading == list(row["pred"])[-1]:  # the one whose distance is recorded
                near = abs(distances[i] - row["distance"]) <= ROUNDING * max(1.0, distances[i])
                found = f"image {row['image']}: recorded {row['distance']}, now {distances[i]:.8f}"
                self._tallies["distances"].add(near, found)

    def _see_pngs(self, reading: str, adv: Images | None, rows: Sequence[Row], x: Images) -> None:
        """Each is there, and is the exact image rounded inside the ball (linf)."""
        linf = adv is not None and self._threat.norm == "linf"
        wanted = whole_pixels(adv, x, self._threat.eps) if adv is not None and linf else None
        legal, recorded = [], []
        for i, row in enumerate(rows):
            path = self._png / reading / f"{row['image']}.png"
            self._png_seen.add(path)
            pixels, why = self._read_png(path, x[i], None if wanted is None else wanted[i])
            self._tallies["PNG files"].add(why is None, str(why))
            if pixels is not None:
                legal.append(pixels)
                recorded.append(row["pred"].get(reading, -1))
        if self._net is not None and legal:
            turned = self._net(as_images(torch.stack(legal))).argmax(1) != torch.tensor(
                recorded
            ).to(x.device)
            self._turned += int(turned.sum())
            self._tallies["PNG verdicts"].seen += len(legal)

    def _read_png(
        self, path: Path, x: Tensor, wanted: Tensor | None
    ) -> tuple[Tensor | None, str | None]:
        """The pixels, or what is wrong with them."""
        try:
            pixels = read_png(path).to(x.device)
        except FdbenchError as reason:
            return None, reason.message
        why = _illegal(as_images(pixels[None])[0], x, self._threat)
        if why is None and wanted is not None and not torch.equal(pixels, wanted):
            why = "not the exact image, rounded"
        return (pixels, None) if why is None else (None, f"{path}: {why}")

    def _strangers(self) -> Check:
        """Files that no row speaks of; a stopped session may have left some."""
        named = {row.get("shard") for row in self._run.rows}
        found = [p for p in (self._run.path / "adv").glob("[!.]*") if p.name not in named]
        found += [p for p in self._png.rglob("[!.]*") if p.is_file() and p not in self._png_seen]
        if found and not self._run.finished:
            text = f"{len(found)} belong to no row yet: the batch under way may have written them"
            return Check("other files", "skipped", text)
        text = f"{len(found)} that no row names: left by a stopped session, or put there; first: "
        return plain("other files", [f"{text}{found[0]}"] if found else [], "none")


def _to_save(run: SavedRun) -> str:
    other = " --results ANOTHER" if run.finished else ""
    return f"{run.info.command} --save-adv{other}"
