"""Security curves: counted from the rows of runs at several radii; the median by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from madeup import info, row, store

from fdbench import api
from fdbench.reporting.figures import accuracy_against_eps
from fdbench.reporting.security import crossing, curve_parts, curves, median_perturbation
from fdbench.store.runs import read_runs

ROBUST = {1: 80, 2: 60, 4: 20}  # of 100 images, of which 90 are right when clean


def falling(results: Path, model: str = "r20", **attack: Any) -> None:
    """Runs at radii of 1, 2 and 4 /255."""
    for pixels, robust in ROBUST.items():
        about = info(model, (10,), eps=pixels / 255, **attack)
        rows = [row(i, None if i < robust else 1, (10,), clean=i < 90) for i in range(100)]
        store(results, about, rows)


def test_a_curve_has_a_line_for_each_radius_with_the_counts_of_its_rows(tmp_path: Path) -> None:
    falling(tmp_path)
    table = curves(read_runs(tmp_path))
    assert table["eps"].to_list() == ["1/255", "2/255", "4/255"]
    assert table["robust"].to_list() == [80, 60, 20]
    assert table["clean"].to_list() == [90] * 3
    # 60 of 90 at 2/255 and 20 at 4/255: 45 lie at 2 + 2 * 15 / 40.
    assert table["median"].to_list() == pytest.approx([2.75 / 255] * 3)
    assert (table["median_low"] < table["median"]).all()
    assert (table["median"] < table["median_high"]).all()


def test_two_radii_are_no_curve_and_other_attacks_are_others(tmp_path: Path) -> None:
    falling(tmp_path)
    for pixels in (1, 2):
        store(tmp_path, info("r20", (10,), eps=pixels / 255, loss="dlr"), [row(0, None, (10,))])
    assert set(curves(read_runs(tmp_path))["loss"]) == {"ce"}


def test_the_table_and_the_figure_show_each_network_once(tmp_path: Path) -> None:
    falling(tmp_path)
    falling(tmp_path, "r20-null")
    table = curves(read_runs(tmp_path))
    (part,) = curve_parts(table)
    assert part.cells["model"] == ("r20", "r20-null")
    assert part.cells["2"] == ("60.0", "60.0")
    assert part.cells["median"][0].startswith("2.8 [")
    figure = accuracy_against_eps.render(table)
    assert figure["png"].startswith(b"\x89PNG")
    assert figure == accuracy_against_eps.render(table)


def test_the_report_has_a_chapter_of_curves_only_where_there_are_some(tmp_path: Path) -> None:
    store(tmp_path, info("r20", (10,), images=1), [row(0, None, (10,))])
    assert "curves" not in api.report(tmp_path).tables
    falling(tmp_path)
    assert len(api.report(tmp_path).tables["curves"]) == len(ROBUST)
    assert (tmp_path / "curves.md").exists()


@pytest.mark.parametrize(
    ("points", "at"),
    [
        ([(1.0, 0.5)], 1.0),
        ([(1.0, 0.0)], 0.5),
        ([(1.0, 1.0), (2.0, 0.75), (4.0, 0.25)], 3.0),
        ([(1.0, 0.9)], None),
    ],
)
def test_the_crossing_lies_on_the_line_between_two_points(
    points: list[tuple[float, float]], at: float | None
) -> None:
    assert crossing(points) == at


def test_a_median_beyond_the_largest_radius_is_shown_as_such(tmp_path: Path) -> None:
    for pixels in (1, 2, 3):
        rows = [row(i, None if i < 80 else 1, (10,)) for i in range(100)]
        store(tmp_path, info("r20", (10,), eps=pixels / 255), rows)
    (part,) = curve_parts(curves(read_runs(tmp_path)))
    assert part.cells["median"] == (">3 [>3, >3]",)


def test_without_a_crossing_the_median_is_beyond_the_largest_radius() -> None:
    assert median_perturbation([1.0, 2.0], [90, 80], 100)[0] is None
    middle, low, high = median_perturbation([1.0, 2.0], [90, 48], 100)
    assert (middle is None, low is None, high is None) == (False, False, True)


def test_its_interval_covers_the_true_median_in_95_of_100_samples() -> None:
    """Images break at exponentially distributed radii; the grid is fine."""
    rng, radii = np.random.default_rng(0), list(np.linspace(0.05, 3, 60))
    covered = 0
    for _ in range(500):
        breaks = rng.exponential(size=200)
        _, low, high = median_perturbation(radii, [int((breaks > r).sum()) for r in radii], 200)
        covered += (low or 0) <= math.log(2) <= (high or math.inf)
    assert 0.925 <= covered / 500 <= 0.98
