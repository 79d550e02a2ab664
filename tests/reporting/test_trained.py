"""Tables say by which recipe a network was trained, if its card does."""

from dataclasses import replace
from pathlib import Path

import pytest
from madeup import info, row, store

from fdbench.reporting.chapters import build
from fdbench.store import read_runs

NOTE = "Trained here: fine by recipe fast, 3 epochs; other by recipe trades, 100 epochs."


@pytest.fixture
def results(tmp_path: Path) -> Path:
    trainings = {"fine": ("fast", 3), "other": ("trades", 100), "plain": ("", 3)}
    for name, (recipe, epochs) in trainings.items():
        run = info(name)
        train = {"epochs": epochs, **({"recipe": recipe} if recipe else {})}
        run = replace(run, model=replace(run.model, train=train))
        store(tmp_path, run, [row(image, None, (10, 100)) for image in range(5)])
    return tmp_path


def test_a_note_under_each_table_names_the_recipes(results: Path) -> None:
    chapters = {one.name: one for one in build(results, read_runs(results)).chapters}
    for name in ("whitebox", "headline"):
        assert [NOTE in part.caption for part in chapters[name].accuracies] == [True]


def test_tables_of_networks_without_a_recipe_have_no_such_note(tmp_path: Path) -> None:
    store(tmp_path, info("plain"), [row(0, None, (10, 100))])
    for chapter in build(tmp_path, read_runs(tmp_path)).chapters:
        assert not any("Trained here" in " ".join(part.caption) for part in chapter.accuracies)
