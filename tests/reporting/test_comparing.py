"""Which comparisons a report shows, and what it concludes from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from madeup import decaying, info, row, store

from fdbench.errors import BadValue, FdbenchError
from fdbench.reporting import Selection, compared
from fdbench.reporting.comparing import BETTER, POINT, UNDECIDED, WORSE, comparisons
from fdbench.reporting.parts import comparison_parts
from fdbench.stats import corrected, images_needed
from fdbench.store import read_runs

CLOSE = {0: 90, 10: 60, 100: 40}


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """The best, one that is hardly worse, and one that is much worse."""
    for model, left in (("a", 40), ("b", 39), ("c", 5)):
        decaying(tmp_path, model, {**CLOSE, 100: left})
    return tmp_path


def test_the_best_is_what_a_report_compares_with_and_only_at_the_largest_budget(
    three: Path,
) -> None:
    table = comparisons(read_runs(three))
    assert len(table) == 2 * 3, "every pair at both budgets stands in the CSV"
    shown = table[table["shown"]]
    assert shown[["model", "against", "iters"]].values.tolist() == [
        ["b", "a", 100],
        ["c", "a", 100],
    ]
    assert shown["verdict"].to_list() == [UNDECIDED, WORSE]
    assert set(table["verdict"]) == {UNDECIDED, WORSE, BETTER, ""} - {BETTER}


def test_p_is_corrected_for_every_pair_from_which_the_best_was_chosen(three: Path) -> None:
    table = comparisons(read_runs(three))
    made = table[table["iters"] == 100]
    assert made["p_holm"].to_list() == corrected(made["p"].to_list())
    assert table[table["iters"] == 10]["p_holm"].isna().all(), "not looked at, not corrected for"


def test_with_a_baseline_p_is_corrected_for_its_comparisons_alone(three: Path) -> None:
    table = comparisons(read_runs(three), "c")
    shown = table[table["shown"]]
    assert shown["verdict"].to_list() == [BETTER, BETTER]
    assert shown["p_holm"].to_list() == corrected(shown["p"].to_list())


def test_an_undecided_comparison_says_how_many_images_would_tell_a_point(three: Path) -> None:
    table = comparisons(read_runs(three))
    undecided = table[table["verdict"] == UNDECIDED].iloc[0]
    assert undecided["needed"] == images_needed(0.01, POINT)
    assert table[table["verdict"] == WORSE]["needed"].isna().all()
    (part,) = comparison_parts(table, "paired.csv")
    assert part.cells["needed"] == (str(undecided["needed"]), "-")
    assert part.cells["verdict"] == (UNDECIDED, WORSE)


def test_a_difference_that_holds_alone_may_not_hold_among_many(tmp_path: Path) -> None:
    decaying(tmp_path, "a", {**CLOSE, 100: 40})
    decaying(tmp_path, "b", {**CLOSE, 100: 33})
    alone = comparisons(read_runs(tmp_path))
    assert alone[alone["shown"]]["verdict"].to_list() == [WORSE]
    for model in "cdef":
        decaying(tmp_path, model, {**CLOSE, 100: 40})
    among = comparisons(read_runs(tmp_path)).set_index("model").loc["b"]
    assert set(among[among["shown"]]["verdict"]) == {UNDECIDED}


def test_several_seeds_of_an_attack_are_shown_once(tmp_path: Path) -> None:
    for seed in (0, 1):
        for model, left in (("a", 40), ("b", 20)):
            rows = [row(i, None if i < left else 5, (10,)) for i in range(100)]
            store(tmp_path, replace(info(model, (10,)), seed=seed), rows)
    table = comparisons(read_runs(tmp_path))
    assert len(table) == 2
    assert table[table["shown"]]["seed"].to_list() == [0]


def test_two_models_are_compared_by_the_runs_that_both_have(three: Path) -> None:
    table, text = compared(three, "c", "a")
    assert set(table["model"]) == {"c"}
    assert set(table["against"]) == {"a"}
    assert WORSE in text
    assert "Only those with a" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100


def test_the_worst_case_over_all_runs_of_each_is_a_line_of_its_own(three: Path) -> None:
    eps = read_runs(three)[0].info.attack.eps
    rows = [{**row(i, None, ()), "pred": {"autoattack": 3 if i < 2 else 5}} for i in range(100)]
    store(three, info("c", (), attack="autoattack", eps=eps), rows)
    _, text = compared(three, "c", "a", Selection(attacks=("pgd",)))
    (line,) = (part for part in " ".join(text.split()).split("best known, ")[1:])
    assert "c 2.0 [0.6, 7.0] of 100, set by autoattack." in line
    assert "a 40.0" in line
    assert "set by pgd 10, 100" in line


def test_models_that_cannot_be_compared_are_named(three: Path, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="no model 'd'"):
        compared(three, "a", "d")
    with pytest.raises(BadValue, match="a is one model"):
        compared(three, "a", "a")
    decaying(three, "e", CLOSE, eps=4 / 255)
    with pytest.raises(BadValue, match=r"(?s)same images.*--until-decided"):
        compared(three, "a", "e")
    with pytest.raises(FdbenchError, match="nothing to compare"):
        compared(tmp_path / "empty", "a", "b")


def test_networks_without_common_images_have_no_line(tmp_path: Path) -> None:
    store(tmp_path, info("a", (10,)), [row(i, None, (10,)) for i in range(5)])
    store(tmp_path, info("b", (10,)), [row(i, None, (10,)) for i in range(5, 9)])
    table = comparisons(read_runs(tmp_path))
    assert table.empty
    assert table["p_holm"].dtype == np.float64
