"""The paper's exhibits: which networks they compare, and published numbers only where they fit."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from madeup import decaying, info, row, store

from fdbench.reporting.exhibits import EXHIBITS, exhibit_parts
from fdbench.reporting.report import write_report
from fdbench.specs import model_recipe

ROBUST = {0: 90, 10: 60, 100: 40}


def exhibits(results: Path) -> pd.DataFrame:
    return write_report(results, None).tables.get("paper", pd.DataFrame({"exhibit": []}))


def test_filters_are_in_the_papers_order_and_design_has_its_own_table(tmp_path: Path) -> None:
    for denoise in ("nonlocal-gauss", "null", "mean"):
        decaying(tmp_path, f"r20-{denoise}", ROBUST)
    decaying(tmp_path, "r20", ROBUST)
    no_1x1 = info("r20-nonlocal-gauss", (10, 100))
    spec = {**(no_1x1.model.spec or {}), "block": "no-1x1"}
    model = replace(no_1x1.model, name="cut", weights="c" * 64, spec=spec)
    store(tmp_path, replace(no_1x1, model=model), [row(i, None, (10, 100)) for i in range(100)])
    table = exhibits(tmp_path)
    fig7 = table[table["exhibit"] == "fig7"].drop_duplicates("variant")
    assert fig7["variant"].to_list() == ["baseline", "null", "mean", "nonlocal-gauss"]
    design = table[table["exhibit"] == "table1"]["variant"].unique().tolist()
    assert design == ["baseline", "nonlocal-gauss", "nonlocal-gauss, no-1x1"]
    assert "cut" not in set(table[table["exhibit"] == "fig6"]["model"])


def test_one_variant_alone_or_of_two_architectures_is_no_exhibit(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    assert exhibits(tmp_path).empty
    other = info("r18-mean", (10, 100))
    model = replace(other.model, spec={"arch": "r18", "denoise": "mean"})
    store(tmp_path, replace(other, model=model), [row(i, None, (10, 100)) for i in range(100)])
    assert exhibits(tmp_path).empty


def test_only_plain_pgd_is_the_papers_attack(tmp_path: Path) -> None:
    for model in ("r20", "r20-mean"):
        decaying(tmp_path, model, ROBUST, loss="margin")
    assert exhibits(tmp_path).empty


def imagenet(name: str, iters: tuple[int, ...]) -> object:
    made = info(name, iters, targeted=True, eps=16 / 255)
    recipe = model_recipe(name)
    model = replace(made.model, spec={"arch": "r152", "denoise": recipe.spec.denoise})
    return replace(made, model=model, data=replace(made.data, name="imagenet", classes=1000))


def test_published_numbers_stand_beside_measured_ones_under_their_conditions(
    tmp_path: Path,
) -> None:
    for name in ("r152", "r152-nonlocal-gauss"):
        rows = [row(i, None if i < 50 else 5, (10, 100)) for i in range(100)]
        store(tmp_path, imagenet(name, (10, 100)), rows)  # type: ignore[arg-type]
    table = exhibits(tmp_path)
    fig6 = table[table["exhibit"] == "fig6"].set_index(["variant", "iters"])
    assert fig6.loc[("nonlocal-gauss", 10), "published"] == 55.7
    assert fig6.loc[("nonlocal-gauss", 10), "difference"] == pytest.approx(50 - 55.7)
    part = next(iter(exhibit_parts(table)))
    assert part.title.startswith("Fig. 6, white-box curves: r152, imagenet test, linf 16/255")
    assert "published" in part.cells["reading"]


def test_clean_training_and_the_black_box_have_their_tables(tmp_path: Path) -> None:
    for name in ("r20", "r20-mean"):
        made = info(name, (10,))
        model = replace(made.model, train={"clean": True})
        store(tmp_path, replace(made, model=model), [row(i, 5, (10,)) for i in range(100)])
        black = info(name, (), 4, attack="transfer")
        answers = [{**row(i, None, ()), "pred": {"one": 3, "two": 5 if i else 3}} for i in range(4)]
        store(tmp_path, replace(black, further={"attackers": ["one", "two"]}), answers)
    table = exhibits(tmp_path)
    assert set(table["exhibit"]) == {"table2", "table3"}
    scores = table.groupby("exhibit")["accuracy"].first()
    assert scores.to_dict() == {"table2": 25, "table3": 100}
    titles = [part.title for part in exhibit_parts(table)]
    assert titles[1] == "Table 3, trained on clean images: r20, fashion-mini test"
    assert "set madeup" in titles[0]


def test_every_exhibit_fits_a_hundred_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = {0: 90, 10: 60, 20: 55, 30: 54, 40: 53, 50: 52, 60: 51, 80: 50, 100: 40}
    for model in ("r20", "r20-nonlocal-gauss", "r20-bilateral-gauss"):
        decaying(tmp_path, model, many)
    write_report(tmp_path, "table")
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100
    assert len({one.name for one in EXHIBITS}) == 5
