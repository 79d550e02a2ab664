"""The page says what the rows say, holds no other text than ours as markup, and stays small."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from madeup import decaying, examined, info, other_weights, row, store
from safetensors.numpy import save
from test_all_or_nothing import rows, run_info

from fdbench.reporting.chapters import build
from fdbench.reporting.headline import headline
from fdbench.reporting.page import charts, fates, leaderboard, pictures, training
from fdbench.reporting.page.trials import Trial, apart_from_curves, trials
from fdbench.reporting.render import html_page
from fdbench.reporting.render.html_page import page_text
from fdbench.store import Check, Run, Workspace, read_runs, write_findings

ROBUST = {0: 90, 10: 60, 100: 40}
LONG = "<img src=x onerror=alert(1)>" + "\u202e\x1b[31m" + "n" * 300


def staged(results: Path, model: str = "r20") -> None:
    """AutoAttack's row of four images: wrong when clean, broken by two stages, and held."""
    by = ("clean", "apgd-ce", "square", None)
    outcomes = [
        {
            **row(i, None, (), clean=i > 0),
            "pred": {"autoattack": 3 if i == 3 else 5},
            "broken_by": b,
        }
        for i, b in enumerate(by)
    ]
    store(results, info(model, (), images=4, attack="autoattack", eps=8 / 255), outcomes)


def trial(results: Path, model: str = "r20") -> Trial:
    (one,) = (one for one in trials(read_runs(results)) if one.model == model)
    return one


def test_networks_of_one_name_are_told_apart_by_their_weights_everywhere(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    store(tmp_path, other_weights(info(images=1), "1", "2025-01-02"), [row(0, 20, (10, 100))])
    ones = trials(read_runs(tmp_path))
    labels = ["r20, 11111111", "r20, 72323000"]
    assert [one.label for one in ones] == labels
    (data,) = fates.one_by_one(ones)
    assert [network["name"] for network in data["networks"]] == labels
    assert [one.label for _, counted in fates.what_broke(ones) for one in counted] == labels
    assert data["networks"][0]["absent"] == list(range(1, 100))


def test_an_image_belongs_to_the_cheapest_attempt_that_broke_it(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    one = trial(tmp_path)
    assert [attempt.label for attempt in one.attempts] == ["pgd 10", "pgd 100"]
    ((_, (counted,)),) = fates.what_broke([one])
    assert [(fate.label, fate.first, fate.alone, fate.broken) for fate in counted.fates] == [
        ("wrong when clean", 10, None, None),
        ("pgd 10", 30, 0, 30),
        ("pgd 100", 20, 20, 50),
        ("never broken", 40, None, None),
    ]
    assert sum(fate.first for fate in counted.fates) == counted.n == 100


def test_stages_are_attempts_of_their_own(tmp_path: Path) -> None:
    staged(tmp_path)
    one = trial(tmp_path)
    broken = {attempt.label: int(attempt.broken.sum()) for attempt in one.attempts}
    assert broken == {
        "autoattack: apgd-ce": 1,
        "autoattack: apgd-t": 0,
        "autoattack: fab-t": 0,
        "autoattack: square": 1,
    }


def test_the_best_known_accuracy_is_the_headlines_worst_case(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST, eps=32 / 255, targeted=False)
    decaying(tmp_path, "r20", ROBUST, eps=32 / 255, targeted=False, loss="margin")
    staged(tmp_path, "r20-mean")
    store(tmp_path, run_info(), rows())
    runs = read_runs(tmp_path)
    table = headline(runs, ())
    worst = dict(zip(table["model"], table["worst_case"], strict=True))
    for part in leaderboard.leaderboards(trials(runs)):
        for name, text in zip(part.cells["model"], part.cells[leaderboard.BEST], strict=True):
            assert text.split(" ")[0] == f"{worst[name]:.1f}"


def test_the_leaderboard_is_ordered_and_names_the_run_that_set_the_worst_case(
    tmp_path: Path,
) -> None:
    decaying(tmp_path, "r20", ROBUST)
    decaying(tmp_path, "r20", {0: 90, 100: 30}, loss="margin")
    decaying(tmp_path, "r20-mean", ROBUST)
    (part,) = leaderboard.leaderboards(trials(read_runs(tmp_path)))
    assert part.cells["model"] == ("r20-mean", "r20")
    assert part.cells["set by"] == ("pgd 100", "pgd 100, loss margin")
    assert part.cells["pgd 100, loss margin"] == ("-", "30.0 [21.9, 39.6]")


def test_the_curve_of_first_wrong_iterates_ends_at_any_iterate_accuracy(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    (chart,) = charts.when_broken(trials(read_runs(tmp_path)))
    (series,) = chart.series
    assert [(point.x, point.y) for point in series.points] == [
        ("clean", 90.0),
        ("10", 60.0),
        ("100", 40.0),
    ]


def test_accuracy_against_eps_needs_one_attack_at_two_sizes(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST, eps=4 / 255)
    decaying(tmp_path, "r20-mean", ROBUST, eps=4 / 255)
    table = build(tmp_path, read_runs(tmp_path)).tables["whitebox"]
    assert list(charts.against_eps(table)) == []
    decaying(tmp_path, "r20", {0: 90, 10: 30, 100: 20}, eps=8 / 255)
    (chart,) = charts.against_eps(build(tmp_path, read_runs(tmp_path)).tables["whitebox"])
    (series,) = chart.series
    assert [(point.x, point.y) for point in series.points] == [
        ("0", 90.0),
        ("4/255", 40.0),
        ("8/255", 20.0),
    ]


def test_smaller_radii_of_a_curve_have_no_leaderboards_of_their_own(tmp_path: Path) -> None:
    radii = [pixels / 255 for pixels in (1, 2, 4)]
    for eps in radii:
        run = info("r20", (), images=1, attack="fast", eps=eps, radii=radii, targeted=False)
        store(tmp_path, run, [{**row(0, None, ()), "pred": {"fast": 3}}])
    every = trials(read_runs(tmp_path))
    assert [one.setting.eps for one in every] == ["1/255", "2/255", "4/255"]
    assert [one.setting.eps for one in apart_from_curves(every)] == ["4/255"]
    decaying(tmp_path, "r20", ROBUST, eps=1 / 255, targeted=False)
    shown = apart_from_curves(trials(read_runs(tmp_path)))
    assert [one.setting.eps for one in shown] == ["1/255", "4/255"]


def test_images_one_by_one_are_those_of_the_rows(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    (data,) = fates.one_by_one(trials(read_runs(tmp_path)))
    (network,) = data["networks"]
    assert data["of"] == len(data["ids"]) == 100
    assert network["clean"].split(",")[:11] == [""] * 11
    assert network["clean"].split(",")[90:] == ["4"] * 10
    assert network["masks"].split(",")[39:41] + network["masks"].split(",")[59:61] == [
        "", "2", "2", "3"
    ]  # fmt: skip
    assert network["when"].split(",")[39:41] == ["", "100"]


def test_the_page_holds_a_part_of_many_images_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fates, "_MOST", 20)
    decaying(tmp_path, "r20", ROBUST)
    page = page_text(build(tmp_path, read_runs(tmp_path)))
    assert "the first 20 of 100 images" in page


def large(results: Path, models: int = 20, attacks: int = 10, images: int = 150) -> None:
    """Many networks under many attacks, which differ in their seeds."""
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=images).tolist()
    for model in range(models):
        for seed in range(attacks):
            falls = rng.integers(0, 160, size=images).tolist()
            name = f"r152-denoised-{model:02}"
            command = f"fdbench attack pgd --iters 10,100 --data imagenet --seed {seed} " + 70 * "-"
            run = replace(info(name, images=images, eps=4 / 255), seed=seed, command=command)
            rows = [row(i, fall, (10, 100), clean=fall > 9) for i, fall in enumerate(falls)]
            store(results, run, [{**one, "label": n} for one, n in zip(rows, labels, strict=True)])


def test_twenty_networks_under_ten_attacks_leave_room_on_the_page(tmp_path: Path) -> None:
    large(tmp_path)
    page = page_text(build(tmp_path, read_runs(tmp_path)))
    assert len(page.encode()) < 600_000


def test_pictures_take_no_more_than_their_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = decaying(tmp_path, "r20", ROBUST)
    kept(folder)
    (run,) = read_runs(tmp_path)
    saved = replace(run, info=replace(run.info, found={"save_adv": "float"}))
    (all_of_them,) = pictures.galleries([saved], [], tmp_path, pictures.nowhere)
    first = all_of_them.pictures[0].size
    (some,) = pictures.galleries([saved], [], tmp_path, pictures.nowhere, first + 1)
    assert len(some.pictures) == 1
    assert not list(pictures.galleries([saved], [], tmp_path, pictures.nowhere, first))
    report = replace(build(tmp_path, read_runs(tmp_path)), runs=(saved,))
    bare = len(page_text(replace(report, runs=(run,))))
    monkeypatch.setattr(html_page, "_SIZE", bare)
    assert "data:image/png" not in page_text(report)


def kept(folder: Path) -> dict[str, Any]:
    """A run's folder with two adversarial images in a shard; returns the images."""
    adv = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    (folder / "adv").mkdir()
    content = save({"10": adv, "100": adv}, metadata={"ids": json.dumps([70, 20])})
    (folder / "adv" / "shard.safetensors").write_bytes(content)
    return {"adv": adv}


def test_images_that_a_run_kept_are_shown_with_clean_ones_where_these_are_here(
    tmp_path: Path,
) -> None:
    folder = decaying(tmp_path, "r20", ROBUST)
    kept(folder)
    (run,) = read_runs(tmp_path)
    saved = replace(run, info=replace(run.info, found={"save_adv": "float"}))

    def clean(run: Run, ids: object) -> np.ndarray:
        return np.zeros((2, 3, 8, 8), np.uint8)

    (with_clean,) = pictures.galleries([saved], [], tmp_path, clean)
    (without,) = pictures.galleries([saved], [], tmp_path, pictures.nowhere)
    assert [picture.image for picture in with_clean.pictures] == ["70", "20"], "broken ones first"
    assert with_clean.pictures[0].versions[0].answer == 5
    assert all(one.versions[0].difference for one in with_clean.pictures)
    assert not any(one.clean or one.versions[0].difference for one in without.pictures)


def test_training_curves_are_those_of_the_reports_networks(tmp_path: Path) -> None:
    decaying(tmp_path, "r20", ROBUST)
    weights = info("r20").model.weights
    log = [{"epoch": 1, "loss": 2.0, "held_out_clean": 0.3, "held_out_pgd": 0.25}]
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name, owner in (("r20", weights), ("other", "0" * 64)):
        (folder / f"{name}.json").write_text(
            json.dumps({"weights": owner, "log": log, "train": {"data": "cifar10"}})
        )
    (folder / "broken.json").write_text("[]")
    charts = training.training_curves(Workspace(tmp_path), read_runs(tmp_path))
    assert [one.title.partition(": ")[0] for one in charts] == ["cifar10"] * 3
    assert [[series.label for series in one.series] for one in charts] == [["r20"]] * 3
    assert [one.series[0].points[0].y for one in charts] == [30.0, 25.0, 2.0]


class Tags(HTMLParser):
    """Counts what a browser would obey: elements by name, handlers of events, and addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: dict[str, int] = {}
        self.handlers: list[str] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] = self.elements.get(tag, 0) + 1
        self.sources += [str(value) for name, value in attrs if name in ("src", "href", "action")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def hostile(results: Path, text: str) -> str:
    plain = info(images=4)
    run = replace(
        plain,
        model=replace(plain.model, name=text, ref=text),
        warnings=(text,),
        command=text,
        environment={"cpu": text},
    )
    store(results, run, [row(image, 20, (10, 100), clean=image > 0) for image in range(4)])
    seen = replace(run, model=replace(run.model, name=text[:60]))  # a file is named after it
    write_findings(Workspace(results), examined(seen, Check(text, "fail", text)))
    return page_text(build(results, read_runs(results)))


def test_markup_escapes_and_length_of_names_change_no_element_of_the_page(tmp_path: Path) -> None:
    plain, odd = hostile(tmp_path / "one", "n" * 300), hostile(tmp_path / "two", LONG)
    assert Tags(odd).elements == Tags(plain).elements
    assert not Tags(odd).handlers
    assert "\u202e" not in odd
    assert "\x1b" not in odd
    assert "\\u202e\\x1b[31m" in odd


def test_the_page_has_neither_addresses_nor_files_to_fetch(tmp_path: Path) -> None:
    page = hostile(tmp_path, "r20")

    assert Tags(page).sources
    assert all(value.startswith(("#", "data:")) for value in Tags(page).sources)


def test_the_same_runs_give_the_same_page(tmp_path: Path) -> None:
    first = hostile(tmp_path, "r20")
    assert page_text(build(tmp_path, read_runs(tmp_path))) == first
