"""The checks of every image, a batch at a time."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from fdbench.evaluation.audit.labels import LabelCheck
from fdbench.evaluation.audit.legality import LegalityCheck
from fdbench.evaluation.audit.pngs import PngCheck
from fdbench.evaluation.audit.saved_run import SavedRun
from fdbench.evaluation.audit.sources import source_of
from fdbench.evaluation.audit.tally import Tally, listing
from fdbench.evaluation.audit.verdicts import VerdictCheck, is_repeatable
from fdbench.store import Check, Row
from fdbench.threat import Threat
from fdbench.types import Batch, Images

FEW = 16  # images whose logits are computed twice, to see whether a network draws random numbers
BATCH = 250  # images, if neither a shard nor the caller sets the size


def batches(rows: Sequence[Row], size: int | None) -> Iterator[tuple[str | None, list[Row]]]:
    """Yields the rows of each shard, or of none, at most `size` at a time; None: whole shards."""
    rows_of: dict[str | None, list[Row]] = {}
    for row in rows:
        rows_of.setdefault(row.get("shard"), []).append(row)
    for shard, members in rows_of.items():
        step = size or (BATCH if shard is None else len(members))
        yield from ((shard, members[i : i + step]) for i in range(0, len(members), step))


def _names(rows: Sequence[Row], reading: str) -> list[str]:
    return [f"image {row['image']}, {reading}" for row in rows]


class ImageChecks:
    """All checks of a run's images; without a network, those that need none."""

    def __init__(self, run: SavedRun, net: nn.Module | None, device: torch.device) -> None:
        threat = Threat(run.info.attack.norm, run.info.attack.eps)
        self._run, self._net, self._device = run, net, device
        self._labels = LabelCheck(run)
        self._source, self._legality = source_of(run), LegalityCheck(threat)
        self._clean, self._adversarial = VerdictCheck("clean verdicts"), VerdictCheck("verdicts")
        self._pngs = PngCheck(run.paths, threat)
        if not (run.kept_images or run.replays):
            why = f"the images were not kept; to keep them: {_command_to_keep(run)}"
            legality = self._legality
            _skip(why, self._source.tally, legality.ball_and_box, legality.distances)
            self._adversarial.tally.skip(why)
        if not self._pngs.there:
            _skip("no PNG images were kept (--save-adv png)", *self._pngs.tallies)

    @property
    def _tallies(self) -> tuple[Tally, ...]:
        """All tallies, in the order shown."""
        return (
            self._labels.tally,
            self._source.tally,
            self._legality.ball_and_box,
            self._clean.tally,
            self._adversarial.tally,
            self._legality.distances,
            self._pngs.files,
            self._pngs.verdicts,
        )

    def skip(self, why: str) -> None:
        """Skips every check of images."""
        _skip(why, *self._tallies)

    def skip_verdicts(self, why: str) -> None:
        """Skips the checks that query the network."""
        self._net = None
        _skip(why, self._clean.tally, self._adversarial.tally, self._pngs.verdicts)

    @torch.no_grad()
    def look(self, shard: str | None, rows: Sequence[Row], cpu: Batch) -> None:
        """Checks rows of one shard, or of none, against their clean images."""
        batch = cpu.to(self._device)
        first = not self._clean.tally.seen
        if self._net is not None and first and not is_repeatable(self._net, batch.x[:FEW]):
            self.skip_verdicts("the network's logits differ between passes")
        self._labels.look(self._net, rows, batch)
        if self._net is not None:
            recorded = [row["clean"] for row in rows]
            self._clean.look(self._net, batch.x, _names(rows, "clean"), recorded)
        kept = self._source.read(shard, rows, batch.x)
        for reading, adv in kept.items():
            self._look_at_adversarial(reading, adv, rows, batch.x)
        for reading in rows[0]["pred"] if self._pngs.there else ():
            legal, recorded = self._pngs.look(reading, kept.get(reading), rows, batch.x)
            if self._net is not None:
                self._pngs.judge(self._net, legal, recorded)

    def _look_at_adversarial(
        self, reading: str, adv: Images, rows: Sequence[Row], x: Images
    ) -> None:
        self._legality.look(reading, adv, rows, x)
        if self._net is not None:
            recorded = [row["pred"].get(reading, -1) for row in rows]
            self._adversarial.look(self._net, adv, _names(rows, reading), recorded)

    def results(self) -> list[Check]:
        """Returns the verdicts, once all images were checked."""
        return [*(tally.result() for tally in self._tallies), self._check_other_files()]

    def _check_other_files(self) -> Check:
        """Checks that every kept file belongs to a row; a stopped session may leave others."""
        named = {row.get("shard") for row in self._run.rows}
        paths = self._run.paths
        others = [path for path in paths.images.glob("[!.]*") if path.name not in named]
        pngs = [path for path in paths.pngs.rglob("[!.]*") if path.is_file()]
        others += [path for path in pngs if path not in self._pngs.looked_at]
        if others and not self._run.finished:
            text = f"{len(others)} belong to no row yet: a batch in progress may have written them"
            return Check("other files", "skipped", text)
        text = f"{len(others)} that no row names, left by a stopped session or added; first: "
        return listing("other files", [f"{text}{others[0]}"] if others else [], "none")


def _skip(why: str, *tallies: Tally) -> None:
    for tally in tallies:
        tally.skip(why)


def _command_to_keep(run: SavedRun) -> str:
    other = " --results ANOTHER" if run.finished else ""
    return f"{run.info.command} --save-adv{other}"
