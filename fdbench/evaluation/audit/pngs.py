"""Checks of the PNG images: each exists, is legal, and is the exact image in whole pixels."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fdbench.errors import FdbenchError
from fdbench.evaluation.audit.legality import why_illegal
from fdbench.evaluation.audit.tally import Tally
from fdbench.store import Row, RunPaths, as_images, read_png, whole_pixels
from fdbench.threat import Threat
from fdbench.types import Images


class PngCheck:
    """Checks that PNGs are the exact images rounded within the ball; `looked_at` has their files.

    Their verdicts are only counted: rounding may change what the network predicts.
    """

    def __init__(self, paths: RunPaths, threat: Threat) -> None:
        self.files = Tally("PNG files", "files")
        self.verdicts = Tally("PNG verdicts", "verdicts")
        self.looked_at: set[Path] = set()
        self._paths, self._threat = paths, threat
        self._turned = 0  # images whose verdict differs from the exact image's
        self.there = paths.pngs.is_dir()

    @property
    def tallies(self) -> tuple[Tally, ...]:
        return self.files, self.verdicts

    def look(
        self, reading: str, adv: Images | None, rows: Sequence[Row], x: Images
    ) -> tuple[list[Tensor], list[int]]:
        """Checks the files of one reading; returns legal images and their recorded predictions.

        `adv` are the exact images, or None if they are faulty.
        """
        linf = adv is not None and self._threat.norm == "linf"
        wanted = whole_pixels(adv, x, self._threat.eps) if adv is not None and linf else None
        legal, recorded = [], []
        for i, row in enumerate(rows):
            path = self._paths.png(reading, row["image"])
            self.looked_at.add(path)
            pixels, why = self._read(path, x[i], None if wanted is None else wanted[i])
            self.files.add(why is None, str(why))
            if pixels is not None:
                legal.append(pixels)
                recorded.append(row["pred"].get(reading, -1))
        return legal, recorded

    def judge(self, net: nn.Module, legal: list[Tensor], recorded: list[int]) -> None:
        """Counts the verdicts that differ from those on the exact images."""
        if legal:
            predicted = net(as_images(torch.stack(legal))).argmax(1)
            self._turned += int((predicted != torch.tensor(recorded).to(predicted.device)).sum())
            self.verdicts.seen += len(legal)
        self.verdicts.notes = (
            f" computed, {self._turned} of them not the exact image's (due to rounding)"
        )

    def _read(
        self, path: Path, x: Tensor, wanted: Tensor | None
    ) -> tuple[Tensor | None, str | None]:
        """Returns the pixels in a file, or what is wrong with them."""
        try:
            pixels = read_png(path).to(x.device)
        except FdbenchError as reason:
            return None, reason.message
        why = why_illegal(as_images(pixels[None])[0], x, self._threat)
        if why is None and wanted is not None and not torch.equal(pixels, wanted):
            why = "not the exact image, rounded"
        return (pixels, None) if why is None else (None, f"{path}: {why}")
