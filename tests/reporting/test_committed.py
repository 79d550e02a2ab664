"""The committed report is what fdbench makes of the committed rows, file by file, byte for byte.

After a change of the report, in results/report: tar xf runs.tar.xz && fdbench report --results .

Pictures follow matplotlib's version, which an SVG names: with another one they are still the same
size and say the same. A PNG's bytes follow the compression library too, so its pixels are compared.
"""

import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fdbench.reporting.report import write_report

REPORT = Path(__file__).parent.parent.parent / "results" / "report"
ROWS = "runs.tar.xz"
PICTURES = {".png", ".svg"}
_LEVELS = (
    0.5  # of 255 by which pixels differ on average, at most: edges of text on other processors
)


def files_in(folder: Path) -> dict[str, Path]:
    """The files of a report by name, without the rows."""
    inputs = {"runs", "doctor", "checkpoints"}
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    kept = (path for path in found if path.parts[0] not in inputs and path.name != ROWS)
    return {str(path): folder / path for path in kept}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report made of the committed rows alone."""
    folder = tmp_path_factory.mktemp("report")
    with tarfile.open(REPORT / ROWS) as rows:
        rows.extractall(folder, filter="data")
    write_report(folder, None)
    return files_in(folder)


def test_every_format_is_committed_and_nothing_else(made: dict[str, Path]) -> None:
    committed = files_in(REPORT)
    assert committed.keys() == made.keys()
    endings = {path.suffix for path in committed.values()}
    assert {".csv", ".md", ".tex", ".png", ".svg", ".html"} <= endings


def test_the_committed_text_is_made_of_the_committed_rows(made: dict[str, Path]) -> None:
    committed = files_in(REPORT)
    different = [
        name
        for name, path in committed.items()
        if path.suffix not in PICTURES and path.read_bytes() != made[name].read_bytes()
    ]
    assert different == [], "in results/report: tar xf runs.tar.xz && fdbench report --results ."


def test_the_committed_pictures_are_made_of_the_committed_rows(made: dict[str, Path]) -> None:
    for name, path in files_in(REPORT).items():
        if path.suffix == ".svg":
            one, other = path.read_text(), made[name].read_text()
            assert _words(one) == _words(other), name
            if _version(one) == _version(other):
                assert one == other, name
            _compare_pixels(path.with_suffix(".png"), made[name].with_suffix(".png"), one, other)


def _compare_pixels(path: Path, other: Path, one_svg: str, other_svg: str) -> None:
    with Image.open(path) as one, Image.open(other) as two:
        assert one.size == two.size, path.name
        if _version(one_svg) == _version(other_svg):
            pixels = (np.asarray(image.convert("RGB"), np.float32) for image in (one, two))
            assert np.abs(np.subtract(*pixels)).mean() <= _LEVELS, path.name


def _version(svg: str) -> str:
    """The matplotlib that drew it."""
    return re.findall(r"Matplotlib v[\d.]+", svg)[0]


def _words(svg: str) -> list[str]:
    """What the picture says: an SVG repeats each text in a comment."""
    return re.findall(r"<!-- (.*?) -->", svg)
