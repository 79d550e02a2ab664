"""The figure shows and labels every curve, and is the same each time."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from madeup import decaying, info, row, store
from pandas import DataFrame

from fdbench.reporting.figures.accuracy_against_iterations import Network, Places, curves_of, render
from fdbench.reporting.figures.panels import limits, spread
from fdbench.reporting.setting import WHITE_BOX, by_setting
from fdbench.reporting.whitebox import whitebox
from fdbench.store.runs import read_runs

ROBUST = {0: 90, 10: 60, 100: 40}


def lines(results: Path) -> DataFrame:
    return whitebox(read_runs(results))


def test_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    decaying(tmp_path, "r20-mean", ROBUST, targeted=True)
    first, second = render(lines(tmp_path)), render(lines(tmp_path))
    assert first == second
    assert first["png"].startswith(b"\x89PNG")
    assert b"<svg" in first["svg"]


def test_every_network_is_named_and_no_date_is_written(tmp_path: Path) -> None:
    for model in ("r20", "r20-mean", "r20-null"):
        decaying(tmp_path, model, ROBUST)
    svg = render(lines(tmp_path))["svg"].decode()
    for text in ("r20", "r20-mean", "r20-null", "clean", "100", "accuracy, %"):
        assert f"<!-- {text} -->" in svg
    assert "<dc:date>" not in svg


def test_curves_of_one_network_are_labelled_by_what_differs(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    decaying(tmp_path, "r20", ROBUST, loss="margin")
    svg = render(lines(tmp_path))["svg"].decode()
    assert "<!-- r20, loss ce -->" in svg
    assert "<!-- r20, loss margin -->" in svg


def test_a_network_has_one_colour_and_its_attacks_have_dashes(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST, eps=4 / 255)
    decaying(tmp_path, "r20-mean", ROBUST, eps=4 / 255)
    decaying(tmp_path, "r20-mean", ROBUST)
    decaying(tmp_path, "r20-mean", ROBUST, loss="margin")
    taken: dict[Network, int] = {}
    panels = [curves_of(part, taken) for _, part in lines(tmp_path).groupby("eps")]
    colours = {(line.label.split(",")[0], line.colour) for panel in panels for line in panel}
    assert len(colours) == 2
    assert sorted(len({line.dash for line in panel}) for panel in panels) == [1, 2]


def test_one_budget_is_drawn_too(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", {0: 90, 100: 40})
    assert set(render(lines(tmp_path))) == {"png", "svg"}


def test_nothing_is_drawn_without_rows(tmp_path: Path) -> None:
    store(tmp_path, info(iters=(10, 100)), [])
    assert render(lines(tmp_path)) == {}


def test_attacks_without_iterations_have_places_right_of_them(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", {0: 90, 10: 60, 100: 40})
    rows = [{**row(0, None, ()), "pred": {"autoattack": 3}}]
    store(tmp_path, info(iters=(), images=1, attack="autoattack"), rows)
    drawn = lines(tmp_path).astype({"iters": float})
    (curves,) = (curves_of(part, {}) for _, part in by_setting(drawn, WHITE_BOX))
    places = Places.of(curves)
    assert places.budgets == (10, 100)
    assert list(places.attacks) == ["autoattack"]
    assert places.attacks["autoattack"] > 100 > places.clean
    assert sorted(places.end(curve)[1] for curve in curves) == [40.0, 100.0]
    assert {curve.label for curve in curves} == {"r20"}
    assert set(render(lines(tmp_path))) == {"png", "svg"}


def test_panels_share_their_accuracy_axis() -> None:
    assert limits([40.0, float("nan"), 90.0]) == (37.0, 93.0)
    assert limits([1.0, 99.0]) == (0.0, 100.0)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.floats(0.1, 10))
def test_labels_keep_their_distance_their_order_and_their_mean(
    wanted: list[float], gap: float
) -> None:
    places = spread(wanted, gap)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    steps = [places[b] - places[a] for a, b in pairwise(order)]
    assert all(step >= gap - 1e-9 for step in steps)
    assert sum(places) == pytest.approx(sum(wanted), abs=1e-6)


def test_labels_far_apart_stay_where_they_are() -> None:
    assert spread([30.0, 10.0, 20.0], 5.0) == [30, 10, 20]
