"""The figure shows and labels every curve, and is the same each time."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from madeup import decaying, info, row, store
from pandas import DataFrame
from test_all_or_nothing import rows, run_info
from test_security import falling

from fdbench.reporting.figures import panels as drawing
from fdbench.reporting.figures.accuracy_against_iterations import (
    MANY,
    Network,
    Places,
    curves_of,
    panels,
    render,
)
from fdbench.reporting.figures.panels import limits, spread
from fdbench.reporting.report import write_report
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


def test_a_curve_is_labelled_by_its_network_and_by_what_is_unusual(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    decaying(tmp_path, "r20-mean", ROBUST)
    decaying(tmp_path, "r20", ROBUST, loss="margin", stop_early=True, restarts=10)
    (curves,) = panels(lines(tmp_path)).values()
    labels = sorted(curve.label for curve in curves)
    assert labels == ["r20", "r20, any iterate, margin loss, 10 restarts", "r20-mean"]


def test_twenty_networks_differ_in_colour_and_marker_or_in_dash(tmp_path: Path) -> None:
    for number in range(20):
        decaying(tmp_path, f"net-{number:02}", ROBUST)
    (curves,) = panels(lines(tmp_path)).values()
    assert len({(curve.colour, curve.dash) for curve in curves}) == 20
    assert len({(curve.marker, curve.dash) for curve in curves}) == 20, "in grey too"


def test_of_too_many_curves_each_network_keeps_its_lowest(tmp_path: Path) -> None:
    for restarts in range(1, MANY + 1):
        decaying(tmp_path, "r20", {0: 90, 10: 60, 100: 50 - restarts}, restarts=restarts)
    decaying(tmp_path, "r20-mean", ROBUST)
    (curves,) = panels(lines(tmp_path)).values()
    assert [curve.label.split(",")[0] for curve in curves] == ["r20", "r20-mean"]
    assert curves[0].points["robust"].iloc[-1] == 50 - MANY


def test_a_network_has_one_colour_and_its_attacks_have_dashes(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST, eps=4 / 255)
    decaying(tmp_path, "r20-mean", ROBUST, eps=4 / 255)
    decaying(tmp_path, "r20-mean", ROBUST)
    decaying(tmp_path, "r20-mean", ROBUST, loss="margin")
    taken: dict[Network, int] = {}
    drawn = [curves_of(part, taken) for _, part in lines(tmp_path).groupby("eps")]
    colours = {(line.label.split(",")[0], line.colour) for panel in drawn for line in panel}
    assert len(colours) == 2
    assert sorted(len({line.dash for line in panel}) for panel in drawn) == [1, 2]


def test_a_name_of_300_characters_leaves_room_for_the_axes(tmp_path: Path) -> None:
    decaying(tmp_path, "n" * 300, ROBUST)
    assert set(render(lines(tmp_path))) == {"png", "svg"}


MANY_NETWORKS = 23  # more than colours times dashes


def everything(results: Path) -> None:
    """So many networks against iterations, radii and attackers."""
    for i in range(MANY_NETWORKS):
        name = f"network-{i:02}"
        decaying(results, name, {0: 90, 10: 60 - i, 100: 40 - i}, eps=16 / 255)
        falling(results, name, targeted=False)
        store(results, run_info(name), rows())


@pytest.mark.draws
@pytest.mark.parametrize("paper", [False, True], ids=["screen", "paper"])
def test_labels_of_many_networks_neither_collide_nor_leave_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paper: bool
) -> None:
    figures = []
    draw_file = drawing.as_bytes

    def seen(figure: Any, kind: str, dpi: int = 160) -> bytes:
        figures.append(figure)
        return draw_file(figure, kind, dpi)

    monkeypatch.setattr(drawing, "as_bytes", seen)
    everything(tmp_path)
    write_report(tmp_path, None, paper=paper)
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "whitebox.png", "blackbox.png", "curves.png",
    }  # fmt: skip
    for figure in figures:
        figure.canvas.draw()
        height = figure.get_window_extent().height
        for axes in figure.axes:
            boxes = [one.get_window_extent() for one in axes.texts if "network" in one.get_text()]
            assert len(boxes) in (0, MANY_NETWORKS)
            boxes.sort(key=lambda box: box.y0)
            assert all(box.y0 >= 0 and box.y1 <= height for box in boxes)
            assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes)), "of a pixel's line"


@pytest.mark.draws
def test_two_panels_for_a_paper_are_as_wide_as_its_text(tmp_path: Path) -> None:
    for eps in (8 / 255, 16 / 255):
        decaying(tmp_path, "r20", ROBUST, eps=eps)
    write_report(tmp_path, None, paper=True)
    assert 'width="495pt"' in (tmp_path / "whitebox.svg").read_text(), "6.875 inches"


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


def test_labels_keep_within_the_axis_while_there_is_room_for_all() -> None:
    assert spread([1.0, 0.0, 90.0], 10.0, (0.0, 100.0)) == [10, 0, 90]
    assert spread([99.0, 100.0, 50.0], 20.0, (0.0, 100.0)) == [80, 100, 50]
    assert spread([0.0, 0.0], 20.0, (0.0, 10.0)) == [-10, 10], "no room: around their places"


def test_the_smaller_radii_of_a_security_curve_have_no_panels_of_their_own(tmp_path: Path) -> None:
    for pixels in (1, 2, 4, 8):
        rows = [{**row(0, None, ()), "pred": {"autoattack": 3}}]
        run = info(iters=(), images=1, attack="autoattack", eps=pixels / 255)
        store(tmp_path, run, rows)
    assert [setting.eps for setting in panels(lines(tmp_path))] == ["8/255"]
    decaying(tmp_path, "r20-mean", ROBUST, eps=2 / 255, targeted=False)
    assert [setting.eps for setting in panels(lines(tmp_path))] == ["2/255", "8/255"]
