"""Every number of a table can be counted by hand from the rows."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from madeup import decaying, info, other_weights, row, store
from pandas import DataFrame

from fdbench.reporting.comparing import PAIRED, comparisons
from fdbench.reporting.headline import headline
from fdbench.reporting.sanity import implausible
from fdbench.reporting.suspicions import warnings
from fdbench.reporting.whitebox import WHITEBOX, whitebox
from fdbench.stats import wilson
from fdbench.store.runs import Run, read_runs

ROBUST = {0: 90, 10: 60, 100: 40}  # of 100 images; 0 iterations are the clean ones

RECIPE = """
summary = "made up"
[model]
arch = "r50"
[[published]]
data = "fashion-mini"
iters = 0
accuracy = 91.5
source = "nowhere"
[[published]]
data = "fashion-mini"
iters = 100
accuracy = 41.5
success = 30.0
eps = "8/255"
source = "nowhere"
"""


def table(results: Path) -> DataFrame:
    return whitebox(read_runs(results))


def test_accuracies_and_intervals_are_counted_from_the_rows(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    lines = table(tmp_path)
    assert list(lines.columns) == list(WHITEBOX)
    assert lines["iters"].to_list() == [10, 100]
    assert lines["robust"].to_list() == [60, 40]
    assert lines["clean"].to_list() == [90, 90]
    low, high = wilson(40, 100)
    assert lines.loc[1, "robust_low"] == pytest.approx(100 * low, abs=1e-4)
    assert lines.loc[1, "robust_high"] == pytest.approx(100 * high, abs=1e-4)
    assert lines["eps"].to_list() == ["8/255"] * 2


def test_any_iterate_counts_an_image_that_was_wrong_and_recovered(tmp_path: Path) -> None:
    recovered = {**row(0, None, (10, 100)), "first_wrong": 42}
    store(tmp_path, info(images=2), [recovered, row(1, None, (10, 100))])
    lines = table(tmp_path)
    assert lines["robust"].to_list() == [100, 100]
    assert lines["any_iterate"].to_list() == [100, 50]


def test_any_iterate_reads_the_first_wrong_of_each_budget_where_rows_have_it(
    tmp_path: Path,
) -> None:
    first = {"first_wrong": 42, "first_wrong_by": {"10": 4, "100": 42}}
    store(tmp_path, info(images=1), [{**row(0, None, (10, 100)), **first}])
    assert table(tmp_path)["any_iterate"].to_list() == [0, 0]


def test_success_is_for_targeted_runs_only_and_counts_the_target_only(tmp_path: Path) -> None:
    missed = {**row(0, 1, (10,)), "pred": {"10": 7}}
    store(tmp_path, info(iters=(10,), images=2, targeted=True), [missed, row(1, 1, (10,))])
    decaying(tmp_path, "r18", {0: 90, 100: 40})
    lines = table(tmp_path).set_index("targeted")
    assert lines.loc["targeted", "success"] == 50
    assert lines.loc["targeted", "robust"] == 0
    assert lines["success"].isna().to_dict() == {"targeted": False, "untargeted": True}


def test_attacks_without_iterations_get_their_worst_case(tmp_path: Path) -> None:
    preds = [{"one": 3, "two": 3}, {"one": 3, "two": 5}, {"one": 5, "two": 3}]
    rows = [{**row(i, None, ()), "pred": pred} for i, pred in enumerate(preds)]
    store(tmp_path, info(iters=(), images=3, attack="transfer"), rows)
    lines = table(tmp_path).set_index("attack")
    assert lines["robust"].round(1).to_dict() == {"one": 66.7, "two": 66.7, "worst case": 33.3}
    assert set(lines["knowledge"]) == {"black-box"}
    assert lines["any_iterate"].isna().all()


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model row with published numbers, all of them under targeted PGD at 8/255."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "madeup.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return "madeup"


def test_published_number_is_shown_under_the_same_conditions(tmp_path: Path, recipe: str) -> None:
    decaying(tmp_path, recipe, ROBUST, targeted=True)
    lines = table(tmp_path).set_index("iters")
    assert lines.loc[100, "published"] == 41.5
    assert lines.loc[100, "published_success"] == 30
    assert lines.loc[100, "difference"] == -1.5
    assert lines["published"].isna().to_dict() == {10: True, 100: False}
    assert lines["published_clean"].to_list() == [91.5, 91.5]


@pytest.mark.parametrize(
    "attack",
    [
        {"targeted": False},
        {"targeted": True, "eps": 4 / 255},
        {"targeted": True, "norm": "l2"},
        {"targeted": True, "loss": "margin"},
        {"targeted": True, "restarts": 2},
        {"targeted": True, "alpha": 4 / 255},
    ],
)
def test_published_number_is_left_out_under_any_other_attack(
    tmp_path: Path, recipe: str, attack: dict[str, object]
) -> None:
    decaying(tmp_path, recipe, ROBUST, **attack)
    assert table(tmp_path)["published"].isna().all()


def test_published_number_is_left_out_for_other_data_and_models(
    tmp_path: Path, recipe: str
) -> None:
    other = info(recipe, targeted=True, images=1)
    elsewhere = replace(other, data=replace(other.data, name="cifar10"))
    store(tmp_path, elsewhere, [row(0, None, (10, 100))])
    decaying(tmp_path, "tv:resnet50", ROBUST, targeted=True)
    lines = table(tmp_path)
    assert lines["published"].isna().all()
    assert lines["published_clean"].isna().all()


def test_unfinished_runs_and_older_weights_are_marked(tmp_path: Path) -> None:
    old = other_weights(info(iters=(10,), images=4), "a", "2024-01-01")
    new = other_weights(info(iters=(10,), images=4), "b", "2025-01-01")
    store(tmp_path, old, [row(i, None, (10,)) for i in range(4)])
    store(tmp_path, new, [row(0, None, (10,))])
    lines = table(tmp_path).set_index("weights")
    assert lines["note"].to_dict() == {"a" * 8: "older weights", "b" * 8: "incomplete"}
    assert lines["n"].to_dict() == {"a" * 8: 4, "b" * 8: 1}


def test_run_without_rows_is_listed_at_its_budgets(tmp_path: Path) -> None:
    store(tmp_path, info(), [])
    lines = table(tmp_path)
    assert lines["iters"].to_list() == [10, 100]
    assert lines["note"].to_list() == ["no rows yet"] * 2
    assert lines["robust"].isna().all()
    assert comparisons(read_runs(tmp_path)).empty


def test_two_runs_that_share_a_budget_show_it_once(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    decaying(tmp_path, "r20", {0: 90, 100: 40})
    assert table(tmp_path)["iters"].to_list() == [10, 100]


def test_comparison_counts_the_images_only_one_got_right(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    decaying(tmp_path, "r20-mean", {0: 90, 10: 60, 100: 50})
    lines = comparisons(read_runs(tmp_path)).set_index("iters")
    assert (lines["model"] == "r20-mean").all()
    assert (lines["against"] == "r20").all()
    assert lines["difference"].to_dict() == {10: 0, 100: 10}
    assert lines["only_model"].to_dict() == {10: 0, 100: 10}
    assert lines["only_against"].to_dict() == {10: 0, 100: 0}
    assert lines.loc[100, "p"] == pytest.approx(2**-9)
    assert lines.loc[10, "p"] == 1


def test_comparison_takes_only_the_images_both_were_judged_on(tmp_path: Path) -> None:
    rows = [row(i, None, (10,)) for i in range(6)]
    store(tmp_path, info("r20", (10,)), rows[:4])
    store(tmp_path, info("r20-mean", (10,)), rows[2:])
    assert comparisons(read_runs(tmp_path))["n"].to_list() == [2]


@pytest.mark.parametrize("change", [{"eps": 4 / 255}, {"loss": "margin"}, {"alpha": 1 / 255}])
def test_comparison_needs_the_same_attack(tmp_path: Path, change: dict[str, object]) -> None:
    decaying(tmp_path, "r20", ROBUST)
    decaying(tmp_path, "r20-mean", ROBUST, **change)
    lines = comparisons(read_runs(tmp_path))
    assert lines.empty
    assert list(lines.columns) == list(PAIRED)


def test_accuracy_that_rises_with_iterations_is_suspicious_beyond_noise_only(
    tmp_path: Path,
) -> None:
    def run(results: Path, recovering: int) -> Run:
        rows = [row(i, None, (10, 100)) for i in range(100)]
        for some in rows[:recovering]:
            some["pred"]["10"] = 5
        store(results, info(), rows)
        return read_runs(results)[0]

    assert implausible(run(tmp_path / "noise", 3)) == []
    (text,) = implausible(run(tmp_path / "more", 20))
    assert "rises by 20.0 points from 10 to 100" in text


def test_accuracy_above_the_clean_one_is_suspicious(tmp_path: Path) -> None:
    rows = [row(i, None, (10,), clean=i >= 20) for i in range(100)]
    store(tmp_path, info(iters=(10,)), rows)
    (text,) = implausible(read_runs(tmp_path)[0])
    assert "20.0 points above clean" in text


def test_a_warning_of_many_runs_is_shown_once_with_their_models(tmp_path: Path) -> None:
    for model in ("r20", "r18"):
        store(tmp_path, replace(info(model), warnings=("too hot",)), [])
    assert warnings(read_runs(tmp_path)) == ["r18, r20: too hot"]


@pytest.mark.parametrize(("by_square", "warned"), [(1, False), (4, True)])
def test_images_that_square_alone_broke_are_a_warning_as_in_autoattack(
    tmp_path: Path, by_square: int, warned: bool
) -> None:
    rows = [
        {
            **row(image, None, ()),
            "pred": {"autoattack": 5 if image < by_square else 3},
            "broken_by": "square" if image < by_square else None,
        }
        for image in range(100)
    ]
    store(tmp_path, info("r20", (), attack="autoattack", version="standard"), rows)
    texts = warnings(read_runs(tmp_path))
    assert any("Square, which needs no gradient, broke 4 of 100" in one for one in texts) == warned


def test_eps_are_in_the_order_of_numbers_not_of_text(tmp_path: Path) -> None:
    for size in (16, 8, 4):
        decaying(tmp_path, "r20", ROBUST, eps=size / 255)
    runs = read_runs(tmp_path)
    for lines in (whitebox(runs), headline(runs, ())):
        assert list(lines["eps"].unique()) == ["4/255", "8/255", "16/255"]


@pytest.mark.parametrize(("differing", "random"), [(1, False), (5, False), (5, True)])
def test_runs_of_one_network_that_disagree_on_clean_images_are_named(
    tmp_path: Path, differing: int, random: bool
) -> None:
    for seed, odd in ((0, 0), (1, differing)):
        rows = [row(image, None, (10,), clean=image >= odd) for image in range(100)]
        run = replace(info(iters=(10,)), seed=seed)
        store(tmp_path, replace(run, found={"network": {"random": random}}), rows)
    disagree = [text for text in warnings(read_runs(tmp_path)) if "disagree" in text]
    if differing == 1 or random:  # a tie that rounding decides, or a network that draws
        assert disagree == []
    else:
        (text,) = disagree
        assert text.startswith("r20: its runs disagree on 5 of 100 clean images")


def test_numbers_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    path = decaying(tmp_path, "r20", ROBUST) / "rows-0.jsonl"
    before = table(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(reversed(lines)) + "\n")
    (path.parent / "rows-1.jsonl").write_text(json.dumps(json.loads(lines[0])) + "\n")
    after = table(tmp_path)
    assert set(after["warnings"]) == {
        "1 images were judged twice; rows-1.jsonl repeats them, ignored"
    }
    about_warnings = ["note", "warnings"]
    assert before.drop(columns=about_warnings).equals(after.drop(columns=about_warnings))


def test_the_best_known_is_credited_to_the_run_that_alone_breaks_most(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", {0: 90, 10: 60})
    decaying(tmp_path, "r20", {0: 90, 10: 30}, restarts=5)
    (line,) = headline(read_runs(tmp_path), ()).to_dict("records")
    assert (line["worst_case"], line["run_alone"]) == (30, 30)
    assert "restarts" in line["run"] or "x5" in line["run"]
    assert line["set_by"] == "pgd 10"
