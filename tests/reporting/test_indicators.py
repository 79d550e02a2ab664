"""The indicators of failure stand on the lines of a run that raises them, and nowhere else."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from madeup import info, row, store

from fdbench.reporting.whitebox import whitebox
from fdbench.store import read_runs

SOUND = {
    "differentiated": 60,
    "zero_gradient": 0,
    "standing": 60,
    "incomplete": 5,
    "disputed": 0,
}


def indicators(results: Path, observed: Mapping[str, int], recovered: int = 0) -> list[str]:
    """The column of a run of 60 images, of which some were wrong at iteration 5 only."""
    rows = [row(i, None, (10, 100)) for i in range(60)]
    rows = [{**one, "first_wrong": 5} if i < recovered else one for i, one in enumerate(rows)]
    store(results, replace(info(images=60), found={"observed": dict(observed)}), rows)
    texts: list[str] = whitebox(read_runs(results))["indicators"].to_list()
    return texts


def test_a_sound_run_and_one_of_an_earlier_version_have_none(tmp_path: Path) -> None:
    assert indicators(tmp_path / "sound", SOUND, recovered=3) == ["", ""]
    assert indicators(tmp_path / "old", {}) == ["", ""]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"zero_gradient": 30}, "unavailable gradients 30 of 60: gradients vanish: try --loss"),
        ({"incomplete": 40}, "incomplete optimisation 40 of 60: try more iterations"),
        ({"disputed": 9}, "transfer failure 9 of 60: attack the network itself: --reference"),
    ],
)
def test_each_indicator_names_its_images_and_its_fix_at_the_last_iterate(
    tmp_path: Path, counts: dict[str, int], text: str
) -> None:
    first, last = indicators(tmp_path, {**SOUND, **counts})
    assert first == ""
    assert last.startswith(text)


def test_silent_success_is_counted_from_the_rows_at_every_budget(tmp_path: Path) -> None:
    texts = indicators(tmp_path, SOUND, recovered=20)
    assert texts == 2 * [
        "silent success 20 of 60: quote any iterate (--stop-early), or try a smaller --alpha"
    ]
