"""All or nothing, any k and the matrices can be counted by hand from the rows."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from madeup import info, other_weights, store
from pandas import DataFrame

from fdbench.reporting.all_or_nothing import (
    ALL,
    CURVE,
    DENOMINATORS,
    PAIRED,
    SPARE,
    any_k,
    blackbox,
    curve,
    paired,
    victims,
)
from fdbench.reporting.cells import missing
from fdbench.reporting.competition import matrices
from fdbench.reporting.figures import accuracy_against_attackers as picture
from fdbench.reporting.parts import blackbox_parts
from fdbench.reporting.render.terminal import fit
from fdbench.stats import wilson
from fdbench.store import Row, RunInfo, read_runs

NAMES = ("noise", "momentum", "smooth", "phases")
# Six images of class 3: broken (x) or not by four attackers, and whether right when clean.
FATES = ("....", "x...", "x.x.", "xxx.", "..x.", "xxxx")
CLEAN = (True, True, True, True, False, True)

RECIPE = """
summary = "made up"
[model]
arch = "r50"
[[published]]
data = "fashion-mini"
attack = "madeup-battery"
eps = "32/255"
targeted = false
accuracy = 10.5
source = "nowhere"
"""
BATTERY = "summary = 'made up'\n" + "".join(
    f"[[attacker]]\nname = '{name}'\nmethod = 'momentum'\n" for name in NAMES
)


def run_info(
    model: str = "r20", images: int = len(FATES), names: tuple[str, ...] = NAMES, **attack: object
) -> RunInfo:
    """A black-box run's description; `attack` are fields of its AttackSpec."""
    options = {"set": "madeup", "digest": "0123456789abcdef"}
    spec = {"attack": "transfer", "options": options, "eps": 32 / 255, **attack}
    further = {
        "set": "0123456789abcdef",
        "attackers": list(names),
        "surrogates": [{"name": "r18", "weights": "1" * 64}],
    }
    return replace(info(model, (), images, **spec), further=further)


def rows(fates: tuple[str, ...] = FATES, names: tuple[str, ...] = NAMES) -> list[Row]:
    return [
        {
            "image": i,
            "label": 3,
            "target": 5,
            "clean": 3 if clean else 4,
            "pred": {n: 5 if f == "x" else 3 for n, f in zip(names, fate, strict=True)},
            "distance": 32 / 255,
        }
        for i, (fate, clean) in enumerate(zip(fates, CLEAN[: len(fates)], strict=True))
    ]


def scores(results: Path, denominator: str = DENOMINATORS[0]) -> DataFrame:
    table = blackbox(read_runs(results))
    return table[table["denominator"] == denominator].reset_index(drop=True)


def test_each_attackers_accuracy_and_all_or_nothing_are_counted_from_the_rows(
    tmp_path: Path,
) -> None:
    store(tmp_path, run_info(), rows())
    (line,) = scores(tmp_path).to_dict("records")
    right = {"noise": 2, "momentum": 4, "smooth": 2, "phases": 5, ALL: 1, "clean": 5}
    for name, count in right.items():
        assert line[name] == pytest.approx(100 * count / 6, abs=1e-4)
        low, high = wilson(count, 6)
        assert (line[f"{name}_low"], line[f"{name}_high"]) == pytest.approx(
            (100 * low, 100 * high), abs=1e-4
        )
    assert line["surrogates"] == "r18"


def test_clean_mistakes_count_only_in_the_other_denominator(tmp_path: Path) -> None:
    """Image 4 is wrong when clean and broken; image 0 is the only survivor."""
    survivor_wrong_when_clean = [{**rows()[0], "clean": 4}, *rows()[1:]]
    store(tmp_path, run_info(), survivor_wrong_when_clean)
    assert scores(tmp_path).loc[0, ALL] == pytest.approx(100 / 6, abs=1e-4)
    of_clean = scores(tmp_path, DENOMINATORS[1])
    assert of_clean.loc[0, "n"] == 4
    assert of_clean.loc[0, ALL] == 0
    assert of_clean.loc[0, "clean"] == 100


def test_the_two_strongest_are_spared_and_ties_keep_the_sets_order(tmp_path: Path) -> None:
    store(tmp_path, run_info(), rows())
    (one,) = victims(read_runs(tmp_path))
    assert [NAMES[i] for i in one.by_strength] == ["noise", "smooth", "momentum", "phases"]
    assert scores(tmp_path).loc[0, SPARE] == pytest.approx(100 * 4 / 6, abs=1e-4)


def test_all_or_nothing_is_at_most_the_weakest_link_and_falls_with_k(tmp_path: Path) -> None:
    store(tmp_path, run_info(), rows())
    lines = curve(read_runs(tmp_path))
    assert tuple(lines.columns) == CURVE
    of_all = lines[lines["denominator"] == DENOMINATORS[0]]
    for name in ("strongest", "mean", "weakest"):
        assert of_all[name].is_monotonic_decreasing
        assert (
            (of_all[f"{name}_low"] <= of_all[name]) & (of_all[name] <= of_all[f"{name}_high"])
        ).all()
    assert (of_all["strongest"] <= of_all["mean"]).all()
    assert (of_all["mean"] <= of_all["weakest"]).all()
    assert of_all["strongest"].iloc[-1] == of_all["mean"].iloc[-1] == of_all["weakest"].iloc[-1]
    assert of_all["added"].to_list() == ["noise", "smooth", "momentum", "phases"]
    table = scores(tmp_path)
    assert (table[ALL] <= table[list(NAMES)].min(axis=1)).all()


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
def test_mean_over_k_attackers_is_that_of_all_subsets(k: int) -> None:
    survived = np.random.default_rng(0).random((40, 6)) < 0.7
    choices = [survived[:, list(some)].all(1).mean() for some in combinations(range(6), k)]
    assert any_k(survived, k) == pytest.approx(float(np.mean(choices)), abs=1e-12)


def test_mean_over_too_many_subsets_to_enumerate_is_exact() -> None:
    survived = np.ones((3, 48), bool)
    survived[0, 0] = False
    assert any_k(survived, 24) == pytest.approx((0.5 + 1 + 1) / 3, abs=1e-15)


def test_the_columns_of_another_sets_attackers_are_empty(tmp_path: Path) -> None:
    store(tmp_path, run_info(), rows())
    other = run_info(names=("one",), options={"set": "zother", "digest": "f" * 16})
    store(tmp_path, other, rows(("x",) * 6, ("one",)))
    table = scores(tmp_path).set_index("set")
    assert missing(table.loc["madeup", "one"])
    assert missing(table.loc["zother", "noise"])
    assert missing(table.loc["zother", SPARE]), "one attacker leaves none to spare"
    assert table.loc["zother", ALL] == 0


def test_an_attacker_may_have_the_name_of_a_column(tmp_path: Path) -> None:
    names = ("model", "n", "clean", "other")
    store(tmp_path, run_info(names=names), rows(names=names))
    table = scores(tmp_path)
    assert table.loc[0, "model"] == "r20"
    assert table.loc[0, "n (attacker)"] == pytest.approx(100 * 4 / 6, abs=1e-4)
    assert table.loc[0, "clean"] == pytest.approx(100 * 5 / 6, abs=1e-4)
    assert [len(part.cells.lines) for part in blackbox_parts(blackbox(read_runs(tmp_path)))] == [
        1,
        1,
    ]


def test_success_is_for_targeted_sets_only_and_counts_any_attacker(tmp_path: Path) -> None:
    store(tmp_path, run_info(), rows())
    assert "success" not in scores(tmp_path)
    missed = rows()
    missed[1]["pred"]["noise"] = 7
    store(tmp_path, run_info(targeted=True), missed)
    table = scores(tmp_path).set_index("targeted")
    assert table.loc["targeted", "success"] == pytest.approx(100 * 4 / 6, abs=1e-4)
    assert missing(table.loc["untargeted", "success"])


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model row whose all-or-nothing accuracy was published for a battery."""
    for folder, name, text in (
        ("models", "madeup", RECIPE),
        ("attacks", "madeup-battery", BATTERY),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return "madeup"


def test_published_number_is_shown_under_the_same_conditions(tmp_path: Path, recipe: str) -> None:
    store(tmp_path, run_info(recipe), rows())
    line = scores(tmp_path).loc[0]
    assert line["published"] == 10.5
    assert line["difference"] == pytest.approx(100 / 6 - 10.5, abs=1e-3)
    assert scores(tmp_path, DENOMINATORS[1])["published"].isna().all()


@pytest.mark.parametrize(
    "change",
    [{"eps": 16 / 255}, {"targeted": True}, {"norm": "l2"}, {"names": NAMES[:3]}],
)
def test_published_number_is_left_out_under_other_attackers(
    tmp_path: Path, recipe: str, change: dict[str, object]
) -> None:
    store(tmp_path, run_info(recipe, **change), rows())  # type: ignore[arg-type]
    assert scores(tmp_path)["published"].isna().all()


def test_published_number_is_left_out_for_clean_training_and_other_data(
    tmp_path: Path, recipe: str
) -> None:
    mine = run_info(recipe)
    store(tmp_path, replace(mine, model=replace(mine.model, train={"clean": True})), rows())
    elsewhere = replace(mine, data=replace(mine.data, name="cifar10"), seed=1)
    store(tmp_path, elsewhere, rows())
    assert scores(tmp_path)["published"].isna().all()


def test_two_victims_are_compared_on_the_same_set_only(tmp_path: Path) -> None:
    better = ("....", "....", "..x.", "xxx.", "....", "xxxx")
    store(tmp_path, run_info("r20"), rows())
    store(tmp_path, run_info("r20-mean"), rows(better))
    lines = paired(read_runs(tmp_path)).set_index("attack")
    assert set(PAIRED) == {*lines.columns, "attack"}
    assert sorted(lines.index) == sorted([*NAMES, ALL])
    assert lines.loc[ALL, "difference"] == pytest.approx(100 * 2 / 6, abs=1e-3)
    assert (lines.loc[ALL, "only_model"], lines.loc[ALL, "only_against"]) == (2, 0)
    other = tmp_path / "other"
    store(other, run_info("r20"), rows())
    store(other, run_info("r20-mean", options={"set": "madeup", "digest": "f" * 16}), rows(better))
    assert paired(read_runs(other)).empty


def test_matrix_is_the_competitions_attacks_by_defenses(tmp_path: Path) -> None:
    store(tmp_path, run_info("r20"), rows())
    store(tmp_path, run_info("r20-mean"), rows(("....",) * 6))
    store(tmp_path, run_info("r18"), rows()[:2])
    files = matrices(read_runs(tmp_path))
    (name,) = files
    assert name == "blackbox/madeup-01234567/accuracy_on_attacks.csv"
    assert files[name].splitlines() == [
        ",r20,r20-mean",
        "noise,2,6",
        "momentum,4,6",
        "smooth,2,6",
        "phases,5,6",
    ]


def test_targeted_sets_have_the_matrices_of_targeted_attacks(tmp_path: Path) -> None:
    store(tmp_path, run_info(targeted=True), rows())
    files = {Path(name).name: text for name, text in matrices(read_runs(tmp_path)).items()}
    assert set(files) == {"accuracy_on_targeted_attacks.csv", "hit_target_class.csv"}
    assert files["hit_target_class.csv"].splitlines()[1] == "noise,4"


def test_networks_of_one_name_are_kept_apart_and_repeated_runs_merged(tmp_path: Path) -> None:
    mine = run_info()
    for digit in "ab":
        store(tmp_path, other_weights(mine, digit, "2025"), rows())
    store(tmp_path, replace(other_weights(mine, "b", "2026"), seed=1), rows()[:2])
    table = scores(tmp_path)
    assert table["weights"].to_list() == ["a" * 8, "b" * 8]
    assert table["n"].to_list() == [6, 6]
    (text,) = matrices(read_runs(tmp_path)).values()
    assert text.splitlines()[0] == ",r20@aaaaaaaa,r20@bbbbbbbb"


def test_a_run_without_rows_or_unfinished_is_marked(tmp_path: Path) -> None:
    store(tmp_path, run_info("r18"), [])
    store(tmp_path, run_info("r20"), rows()[:2])
    table = scores(tmp_path).set_index("model")
    assert table["note"].to_dict() == {"r18": "no rows yet", "r20": "incomplete"}
    assert missing(table.loc["r18", ALL])
    assert len(list(blackbox_parts(blackbox(read_runs(tmp_path))))) == 2
    assert blackbox([]).empty
    assert curve([]).empty


def test_same_tables_give_the_same_figure(tmp_path: Path) -> None:
    store(tmp_path, run_info(), rows())
    runs = read_runs(tmp_path)
    drawn = picture.render(curve(runs), blackbox(runs))
    assert drawn["png"].startswith(b"\x89PNG")
    assert drawn == picture.render(curve(runs), blackbox(runs))
    assert picture.render(curve([]), blackbox([])) == {}


def test_one_attacker_makes_no_curve(tmp_path: Path) -> None:
    options = {"set": "one", "digest": "fedcba9876543210"}
    store(
        tmp_path / "one", run_info(names=("noise",), options=options), rows((".",) * 6, ("noise",))
    )
    alone = read_runs(tmp_path / "one")
    assert picture.render(curve(alone), blackbox(alone)) == {}
    store(tmp_path / "five", run_info(), rows())
    five = read_runs(tmp_path / "five")
    both = [*alone, *five]
    assert picture.render(curve(both), blackbox(both)) == picture.render(
        curve(five), blackbox(five)
    )


@pytest.mark.parametrize(("attackers", "width"), [(5, 80), (5, 120), (48, 80)])
def test_narrow_screen_keeps_all_or_nothing(tmp_path: Path, attackers: int, width: int) -> None:
    names = tuple(f"attacker-{i}" for i in range(attackers))
    fates = ("." * attackers,) * 6
    store(tmp_path, run_info("r20-nonlocal-gauss", names=names), rows(fates, names))
    part = next(blackbox_parts(blackbox(read_runs(tmp_path))))
    cells, below = fit(part.cells, part.kind, width)
    assert ALL in cells.headings
    assert SPARE in cells.headings
    assert below[-1] == f"Shortened to {width} columns"
    assert ("1 attacker-0" in below[0]) == ((attackers, width) == (5, 80))
