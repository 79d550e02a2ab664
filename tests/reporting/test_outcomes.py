"""What a report counts on columns is what one counts by hand on the rows."""

import json
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from madeup import info, sealed, store

from fdbench.randomness import ImageId
from fdbench.reporting.headline import headline
from fdbench.reporting.outcomes import (
    WORST,
    RunAtBudget,
    at_budgets,
    broken_by,
    clean_answers,
    differing_answers,
    hit,
    predictions,
    right,
    right_when_clean,
)
from fdbench.stats import paired
from fdbench.store import Row, Run, read_runs

EXTREMES = (-(2**63), -129, 128, 40_000, 2**31, 2**63 - 1)
STAGES = ("clean", "apgd-ce", "square", None)
COUNTED = ("10", "50", "100", str(2**63 - 1), str(2**70))
NAMED = ("one", "two", "three")


def whole(rng: random.Random) -> int:
    """A class, nearly always one of three."""
    return rng.choice(EXTREMES) if rng.random() < 0.03 else rng.randrange(3)


def maybe(rng: random.Random, value: Any) -> Any:
    return None if rng.random() < 0.3 else value


def odd_row(rng: random.Random, image: ImageId, budgets: tuple[str, ...]) -> dict[str, Any]:
    """A valid row that lacks any of what it may lack."""
    asked = rng.sample(budgets, rng.randint(1, len(budgets)))
    optional = {
        "target": maybe(rng, whole(rng)),
        "first_wrong": maybe(rng, rng.choice([0, 10, 60, *EXTREMES])),
        "first_wrong_by": {b: maybe(rng, rng.choice([1, 10, 100])) for b in asked[:2]},
        "broken_by": rng.choice(STAGES),
        "draws": {b: rng.choice([0, 3, 5]) for b in asked if rng.random() < 0.95},
        "queries": {"more": [1.5, None]},
    }
    return {
        "image": image,
        "label": whole(rng),
        "clean": whole(rng),
        "pred": {budget: whole(rng) for budget in asked},
        "distance": 0.03,
        **{name: value for name, value in optional.items() if rng.random() < 0.9},
    }


def odd_run(results: Path, seed: int, ids: list[ImageId], budgets: tuple[str, ...]) -> Run:
    """A run of three processes that repeat images, with lines that are no rows."""
    rng = random.Random(seed)
    run = replace(info(images=len(ids)), seed=seed, found={"network": {"draws": 5}})
    folder = store(results, run, [])
    for rank in range(3):
        some = rng.choices(ids, k=len(ids) // 2)
        lines = [json.dumps(row) for row in sealed(run, [odd_row(rng, i, budgets) for i in some])]
        lines[3] = lines[3].replace('"distance": 0.03', '"distance": 0.02')
        lines[5] = lines[5].replace('"label"', '"lable"')
        lines.insert(1, lines[0])
        (folder / f"rows-{rank}.jsonl").write_text("\n".join([*lines, '{"image": 1']))
    (read,) = (one for one in read_runs(results) if one.info.seed == seed)
    return read


def preds(row: Row, budget: str) -> Iterable[int]:
    return row["pred"].values() if budget == WORST else [row["pred"][budget]]


def is_right(row: Row, budget: str) -> bool:
    return all(predicted == row["label"] for predicted in preds(row, budget))


def is_hit(row: Row, budget: str) -> bool:
    return any(predicted == row.get("target") for predicted in preds(row, budget))


def judged(run: Run, budget: str) -> list[Row]:
    named = {name for row in run.rows for name in row["pred"]} if budget == WORST else {budget}
    return [row for row in run.rows if named <= row["pred"].keys()]


def always_right(rows: list[Row], iters: int | None, budget: str) -> int | None:
    if iters is None or not any("first_wrong" in row for row in rows):
        return None
    count = 0
    for row in rows:
        first = row.get("first_wrong_by", {}).get(budget, row.get("first_wrong"))
        count += is_right(row, budget) and (first is None or first > iters)
    return count


def draws(rows: list[Row], budget: str) -> tuple[float, int] | None:
    known = [row["draws"][budget] for row in rows if budget in row.get("draws", {})]
    return None if len(known) < len(rows) else (sum(known) / 5, known.count(5))


INTS: list[ImageId] = list(range(40))
NAMES: list[ImageId] = [f"class/{i}.png" for i in range(30)]
MIXED: list[ImageId] = [*range(20), *map(str, range(20)), "é", 2**63 - 1]


@pytest.fixture(params=[(INTS, COUNTED), (NAMES, NAMED), (MIXED, COUNTED), (MIXED, ("alone",))])
def runs(tmp_path: Path, request: pytest.FixtureRequest) -> list[Run]:
    ids, budgets = request.param
    return [odd_run(tmp_path, seed, ids, budgets) for seed in range(4)]


def test_the_columns_are_those_of_the_first_row_of_each_image(runs: list[Run]) -> None:
    for run in runs:
        columns, rows = run.columns, run.rows
        assert len(columns) == len(rows) > 10
        assert columns.images.tolist() == [row["image"] for row in rows]
        assert columns.label.tolist() == [row["label"] for row in rows]
        assert columns.clean.tolist() == [row["clean"] for row in rows]
        assert list(columns.pred) == list(dict.fromkeys(b for row in rows for b in row["pred"]))
        assert len(run.damaged) == 3
        assert sum("judged twice" in text for text in run.info.warnings) == 3


def test_counts_at_every_budget_are_those_of_the_rows(runs: list[Run]) -> None:
    for one in (one for run in runs for one in at_budgets(run)):
        rows, budget = judged(one.run, one.budget), one.budget
        assert one.n == len(rows)
        assert one.verdicts.total == sum(is_right(row, budget) for row in rows)
        assert one.clean_verdicts.total == sum(row["clean"] == row["label"] for row in rows)
        assert one.hits == sum(is_hit(row, budget) for row in rows)
        assert one.always_right == always_right(rows, one.iters, budget)
        assert one.draws == draws(rows, budget)


def test_verdicts_on_single_images_are_those_of_the_rows(runs: list[Run]) -> None:
    for run in runs:
        columns, rows = run.columns, run.rows
        assert right_when_clean(columns).tolist() == [r["clean"] == r["label"] for r in rows]
        assert right(columns, WORST).tolist() == [is_right(row, WORST) for row in rows]
        assert hit(columns, WORST).tolist() == [is_hit(row, WORST) for row in rows]
        for budget in columns.pred:
            have = [place for place, row in enumerate(rows) if budget in row["pred"]]
            expected = tuple(rows[place]["pred"][budget] for place in have)
            assert predictions(columns, budget, have) == expected


def test_what_broke_images_is_counted_from_the_rows(runs: list[Run]) -> None:
    for run in runs:
        stages = Counter(row["broken_by"] for row in run.rows if "broken_by" in row)
        assert broken_by(run.columns) == stages
        answers = Counter((row["label"], row["clean"]) for row in run.rows)
        assert clean_answers(run.columns) == [(*key, answers[key]) for key in sorted(answers)]


def verdicts(one: RunAtBudget) -> dict[ImageId, bool]:
    return {row["image"]: is_right(row, one.budget) for row in judged(one.run, one.budget)}


def test_two_runs_are_compared_on_the_images_that_both_have(runs: list[Run]) -> None:
    every = [one for run in runs for one in at_budgets(run)]
    for one in every:
        for two in every:
            mine, other = verdicts(one), verdicts(two)
            shared = [image for image in mine if image in other]
            expected = paired([mine[i] for i in shared], [other[i] for i in shared])
            assert paired(*one.verdicts.beside(two.verdicts)) == expected


def test_answers_that_differ_between_runs_are_counted_from_the_rows(runs: list[Run]) -> None:
    for several in ([runs[0]], runs):
        answers: dict[ImageId, set[int]] = {}
        for row in (row for run in several for row in run.rows):
            answers.setdefault(row["image"], set()).add(row["clean"])
        differing = sum(len(classes) > 1 for classes in answers.values())
        found = differing_answers([run.columns for run in several])
        assert found == (differing, len(answers))


def test_the_headline_counts_an_image_that_survives_every_run(runs: list[Run]) -> None:
    most = max(runs, key=lambda run: len(run.rows))
    survivors = {row["image"] for row in most.rows if row["clean"] == row["label"]}
    for row in (row for run in runs for row in run.rows):
        if not is_right(row, WORST):
            survivors.discard(row["image"])
    (line,) = headline(runs, ()).to_dict("records")
    assert line["n"] == len(most.rows)
    assert line["worst_case"] == round(100 * len(survivors) / len(most.rows), 4)


def test_runs_on_the_same_images_share_their_ids(tmp_path: Path) -> None:
    for seed in range(2):
        run = replace(info(images=3), seed=seed)
        store(tmp_path, run, [odd_row(random.Random(0), f"{i}.png", ("10",)) for i in range(3)])
    one, two = read_runs(tmp_path)
    assert one.columns.images is two.columns.images
