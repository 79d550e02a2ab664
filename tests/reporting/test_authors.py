"""The authors' table: error / success, counted from rows, under their protocol only."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from madeup import info, row, spec_of, store
from pandas import DataFrame
from rich.console import Console

from fdbench import console
from fdbench.reporting.authors import COLUMNS, READING, parts
from fdbench.reporting.authors import table as authors_table
from fdbench.reporting.report import write_report
from fdbench.specs.recipes import model_recipe
from fdbench.store import Row, RunInfo, read_runs

ROBUST = {0: 65, 10: 56, 100: 45, 1000: 43, 2000: 42}  # of 100 images


def imagenet(model: str, iters: tuple[int, ...], **attack: object) -> RunInfo:
    """A run on 100 images of ImageNet under the authors' protocol; `attack` overrides it."""
    settings: dict[str, Any] = {"eps": 16 / 255, "targeted": True, "iters": iters, **attack}
    run = info(model, iters)
    data = replace(run.data, name="imagenet", classes=1000)
    return replace(run, data=data, attack=spec_of(**settings))


def rows(robust: dict[int, int]) -> list[Row]:
    """Images lost at the first budget whose count they exceed; half of them to the target."""
    budgets = tuple(b for b in robust if b)
    image_rows = []
    for image in range(100):
        falls = next((b for b in budgets if image >= robust[b]), None)
        one = row(image, falls, budgets, clean=image < robust[0])
        if image % 2:
            one["pred"] = {b: 7 if answer == 5 else answer for b, answer in one["pred"].items()}
        image_rows.append(one)
    return image_rows


@pytest.fixture
def results(tmp_path: Path) -> Path:
    budgets = tuple(b for b in ROBUST if b)
    for model in ("r152", "r152-nonlocal-gauss", "x101-nonlocal-dot-all"):
        store(tmp_path, imagenet(model, budgets), rows(ROBUST))
    return tmp_path


def table(results: Path) -> DataFrame:
    return authors_table(read_runs(results))


def printed(results: Path, capsys: pytest.CaptureFixture[str], fmt: str = "table") -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "out", Console(width=100, markup=False, highlight=False))
        write_report(results, fmt)
    return capsys.readouterr().out


def test_errors_and_successes_are_those_of_the_rows(results: Path) -> None:
    lines = table(results)
    assert tuple(lines.columns) == COLUMNS
    r152 = lines[lines["model"] == "r152"].set_index("iters")
    assert r152["error"].to_dict() == {0: 35, 10: 44, 100: 55, 1000: 57, 2000: 58}
    assert r152["success"].dropna().to_dict() == {10: 22, 100: 27, 1000: 28, 2000: 29}
    assert (r152["error_low"] < r152["error"]).all()
    assert (r152["error_high"] > r152["error"]).all()


def test_differences_are_from_the_released_model_table(results: Path) -> None:
    gauss = table(results).set_index(["model", "iters"]).loc["r152-nonlocal-gauss"]
    assert gauss["published_error"].round(1).to_dict() == {
        0: 34.7,
        10: 44.3,
        100: 54.5,
        1000: 57.2,
        2000: 57.4,
    }
    assert gauss["published_success"].dropna().to_dict() == {10: 4.9, 100: 26.6, 1000: 32.7}
    assert gauss.loc[100, "difference_error"] == pytest.approx(0.5)
    assert gauss.loc[100, "difference_success"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    "attack",
    [
        {"eps": 8 / 255},
        {"targeted": False},
        {"norm": "l2"},
        {"loss": "margin"},
        {"restarts": 2},
        {"random_start": False},
        {"alpha": 2 / 255},
    ],
)
def test_runs_under_another_protocol_are_left_out(
    tmp_path: Path, attack: dict[str, object]
) -> None:
    store(tmp_path, imagenet("r152", (10, 100), **attack), rows({0: 65, 10: 56, 100: 45}))
    assert table(tmp_path).empty
    write_report(tmp_path, "csv")
    assert not (tmp_path / "zoo.csv").exists()
    assert "Zoo" not in (tmp_path / "whitebox.md").read_text()


def test_other_data_have_no_published_numbers(tmp_path: Path) -> None:
    mine = imagenet("r152", (10, 100))
    for change in ({"name": "npz:mine.npz"}, {"split": "held-out"}):
        other = replace(mine, data=replace(mine.data, **change))  # type: ignore[arg-type]
        store(tmp_path, other, rows({0: 65, 10: 56, 100: 45}))
    lines = table(tmp_path)
    assert len(lines) == 6
    assert lines["published_error"].isna().all()


def test_a_cleanly_trained_network_gets_its_own_published_number(tmp_path: Path) -> None:
    mine = imagenet("r152", (10,))
    clean = replace(mine, model=replace(mine.model, train={"clean": True}))
    store(tmp_path, clean, rows({0: 79, 10: 1}))
    published = table(tmp_path)["published_error"]
    assert published[0] == pytest.approx(100 - 78.91)
    assert published.isna().to_list() == [False, True]


def test_published_black_box_numbers_are_not_compared_with_white_box_runs(tmp_path: Path) -> None:
    assert [one.attack for one in model_recipe("r152-null").published] == ["caad2017"]
    attacks: tuple[dict[str, object], ...] = ({}, {"eps": 32 / 255, "targeted": False})
    for attack in attacks:
        store(tmp_path, imagenet("r152-null", (10,), **attack), rows({0: 65, 10: 56}))
    lines = write_report(tmp_path, "csv").tables["whitebox"]
    assert lines[["published", "published_clean"]].isna().all(axis=None)


def test_the_run_with_more_images_counts(tmp_path: Path) -> None:
    mine = imagenet("r152", (10,))
    store(tmp_path, mine, rows({0: 65, 10: 56})[:10])
    store(tmp_path, replace(mine, seed=3), rows({0: 65, 10: 56}))
    assert set(table(tmp_path)["seed"]) == {3}


def test_two_networks_of_one_name_are_two_rows(tmp_path: Path) -> None:
    mine = imagenet("r152", (10,))
    for digit in "ab":
        other = replace(mine, model=replace(mine.model, weights=digit * 64))
        store(tmp_path, other, rows({0: 65, 10: 56}))
    (part,) = parts(table(tmp_path))
    assert set(part.cells["model"]) == {"r152@aaaaaaaa", "r152@bbbbbbbb"}


def test_budgets_that_were_not_run_have_no_column(tmp_path: Path) -> None:
    store(tmp_path, imagenet("r152", (10, 100, 500)), rows({0: 65, 10: 56, 100: 45, 500: 44}))
    (part,) = parts(table(tmp_path))
    assert part.cells.headings == ["model", "reading", "clean", "10 it", "100 it"]


def test_printed_table_fits_the_screen_and_explains_itself(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(results, capsys)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    assert "Zoo: imagenet test, targeted PGD, linf 16/255, 1000 classes" in text
    for cell in ("55.0 / 27.0", "54.5 / 26.6", "+0.5 / +0.4", "35.0", "45.2-64.4"):
        assert cell in text
    assert READING.split(".")[1] in " ".join(text.split())


def test_files_and_json_hold_the_table(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(printed(results, capsys, "json"))
    assert len(report["zoo"]) == 15
    assert pd.read_csv(results / "zoo.csv")["error"].to_list() == [
        one["error"] for one in report["zoo"]
    ]
    assert (
        "| r152 | published | 37.7 | 47.5 / 5.5 | 58.3 / 31.0 | 61.0 / 36.1 | 60.8 |"
        in (results / "whitebox.md").read_text()
    )
    printed(results, capsys, "html")
    assert "Zoo: imagenet" in (results / "report.html").read_text()


def test_the_number_of_images_is_shown_where_it_differs(results: Path) -> None:
    store(results, imagenet("r101", (10,)), rows({0: 65, 10: 56})[:10])
    (part,) = parts(table(results))
    assert part.same == ""
    assert set(part.cells["reading"]) >= {"images", "measured", "published"}
