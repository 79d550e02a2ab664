"""Several trainings of one recipe: found by their cards, combined, compared, and only then."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from madeup import info, row, store

from fdbench.reporting.comparing import BETTER, UNDECIDED, WORSE
from fdbench.reporting.recipes import recipe_of, recipe_parts, recipes
from fdbench.reporting.report import write_report
from fdbench.stats import seeds_needed
from fdbench.store import read_runs


def trained(
    results: Path, name: str, seed: int, left: int, first: int = 0, **train: object
) -> None:
    """A run of a network of this recipe that keeps `left` of 100 images from `first` on."""
    run = info(name.rpartition("~")[0] or name, (10,))
    card = {"data": "fashion-mini", "epochs": 3, "seed": seed, **train}
    model = replace(run.model, name=name, weights=name.encode().hex().ljust(64, "0"), train=card)
    rows = [row(i, None if i < left else 5, (10,)) for i in range(first, 100)]
    store(results, replace(run, model=model, images=len(rows)), rows)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three trainings of a baseline and of one with blocks, the latter clearly better."""
    for seed in range(3):
        trained(tmp_path, f"r20~{seed}", seed, 30 + seed)
        trained(tmp_path, f"r20-mean~{seed}", seed, 50 + seed)
    return tmp_path


def test_trainings_that_differ_in_their_seed_only_are_one_recipe(results: Path) -> None:
    table = recipes(read_runs(results))
    assert table["recipe"].to_list() == ["r20", "r20-mean"]
    assert table["trainings"].to_list() == [3, 3]
    assert table["mean"].to_list() == [31, 51]
    assert table["deviation"].to_list() == [1, 1]
    assert table["needed"].to_list() == [seeds_needed(1.0, 1.0)] * 2
    assert table["models"].to_list()[0] == "r20~0, r20~1, r20~2"


def test_the_spread_over_trainings_is_not_that_over_images(results: Path) -> None:
    line = recipes(read_runs(results)).iloc[0]
    over_seeds, over_images = (
        line[f"{name}_high"] - line[f"{name}_low"] for name in ("seeds", "images")
    )
    assert over_seeds == pytest.approx(2 * 4.303 / 3**0.5, rel=1e-3)
    assert over_images > 3 * over_seeds


def test_recipes_are_compared_over_their_trainings(results: Path) -> None:
    table = recipes(read_runs(results)).set_index("recipe")
    line = table.loc["r20"].to_dict()
    assert (line["against"], line["difference"], line["verdict"]) == ("r20-mean", -20, WORSE)
    named = recipes(read_runs(results), "r20").set_index("recipe").loc["r20-mean"].to_dict()
    assert named["verdict"] == BETTER
    assert named["p_holm"] == named["p"]


def test_what_other_seeds_could_turn_is_not_distinguishable(tmp_path: Path) -> None:
    for seed, (one, two) in enumerate(((30, 60), (50, 55), (40, 20))):
        trained(tmp_path, f"r20~{seed}", seed, one)
        trained(tmp_path, f"r20-mean~{seed}", seed, two)
    verdicts = recipes(read_runs(tmp_path))["verdict"].dropna()
    assert verdicts.to_list() == [UNDECIDED]


def test_a_single_training_or_another_setting_is_no_recipe_of_several(tmp_path: Path) -> None:
    trained(tmp_path, "r20~0", 0, 30)
    trained(tmp_path, "r20~1", 1, 30, epochs=4)
    store(tmp_path, info("r18", (10,)), [row(0, None, (10,))])
    assert recipes(read_runs(tmp_path)).empty
    assert recipe_of(info("r18").model) == ""


def test_two_recipes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for seed in (0, 1):
        trained(tmp_path, f"a~{seed}", seed, 30)
        trained(tmp_path, f"b~{seed}", seed, 30, epochs=9)
    names = recipes(read_runs(tmp_path))["recipe"].to_list()
    assert len(set(names)) == 2
    assert all(name.startswith("r20 (") for name in names)


def test_recipes_are_compared_on_the_images_that_all_networks_have(results: Path) -> None:
    trained(results, "r20~3", 3, 40, first=20)
    table = recipes(read_runs(results))
    assert table["n"].to_list() == [80, 80]
    assert table["mean"].to_list()[0] == pytest.approx(100 * np.mean([10, 11, 12, 20]) / 80)


def test_the_chapter_stands_in_a_report_with_several_trainings_only(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = write_report(results, "table")
    assert "recipes" in report.tables
    assert (results / "recipes.csv").is_file()
    text = capsys.readouterr().out
    assert "Recipes: fashion-mini test" in text
    assert max(map(len, text.splitlines())) <= 100
    (part,) = recipe_parts(report.tables["recipes"])
    assert part.cells["verdict"] == (WORSE, "")
