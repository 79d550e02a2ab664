"""Which runs a report shows, under which names, and that its files are about these runs only."""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from madeup import decaying, examined, info, other_weights, row, store

from fdbench.errors import BadValue, FdbenchError
from fdbench.reporting import comparing
from fdbench.reporting.figures.accuracy_against_iterations import curves_of
from fdbench.reporting.headline import headline
from fdbench.reporting.report import write_report
from fdbench.reporting.selection import Selection, named, selected
from fdbench.store import RunInfo, read_findings, read_runs
from fdbench.store.findings import Check, write_findings

ROBUST = {0: 90, 10: 60, 100: 40}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for model in ("r20", "r20-null"):
        decaying(tmp_path, model, ROBUST)
    decaying(tmp_path, "r20", ROBUST, eps=4 / 255)
    return tmp_path


def models(results: Path, **wanted: object) -> list[str]:
    table = write_report(results, None, Selection(**wanted)).tables["whitebox"]  # type: ignore[arg-type]
    return list(dict.fromkeys(table["model"]))


def test_runs_models_data_and_attacks_select(results: Path) -> None:
    assert models(results) == ["r20", "r20-null"]
    assert models(results, models=("r20-null",)) == ["r20-null"]
    runs = read_runs(results)
    (null,) = (run for run in runs if run.info.model.name == "r20-null")
    for name in (null.name, str(null.path), f"{null.path}/"):
        assert models(results, runs=(name,)) == ["r20-null"]
    assert models(results, data=("fashion-mini",), attacks=("pgd",)) == ["r20", "r20-null"]


@pytest.mark.parametrize(
    "wanted",
    [{"runs": ("nope",)}, {"models": ("r2",)}, {"data": ("cifar",)}, {"attacks": ("fgsm",)}],
)
def test_what_no_run_has_is_refused(results: Path, wanted: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(BadValue, match=r"(?s)no .*Allowed"):
        write_report(results, None, Selection(**wanted))  # type: ignore[arg-type]
    assert not (results / "whitebox.csv").exists()


def test_labels_rename_models(results: Path) -> None:
    assert sorted(models(results, labels={"r20-null": "ours"})) == ["ours", "r20"]
    with pytest.raises(BadValue, match="no model to label 'r21'"):
        models(results, labels={"r21": "ours"})


def test_only_the_latest_weights_of_a_name(results: Path) -> None:
    newer = other_weights(info("r20", tuple(b for b in ROBUST if b), 1), "b", "2027-01-01")
    store(results, newer, [row(0, None, (10, 100))])
    table = write_report(results, None, Selection(latest=True)).tables["whitebox"]
    assert set(table[table["model"] == "r20"]["weights"]) == {"b" * 8}


def test_unfinished_runs_are_left_out_with_a_line(results: Path) -> None:
    begun = store(results, info("r18"), [row(0, None, (10, 100))])
    report = write_report(results, None)
    assert "r18" not in set(report.tables["whitebox"]["model"])
    line = f"{begun.name} is left out: 1 of its 100 images are there (--unfinished shows it)"
    assert line in report.warnings
    assert "r18" in models(results, unfinished=True)


def test_only_unfinished_runs_is_an_error_with_the_option(tmp_path: Path) -> None:
    store(tmp_path, info("r18"), [row(0, None, (10, 100))])
    with pytest.raises(FdbenchError, match="--unfinished"):
        write_report(tmp_path, None)


def with_data(run: RunInfo, name: str, fingerprint: str = "f" * 16) -> RunInfo:
    return replace(run, data=replace(run.data, name=name, fingerprint=fingerprint))


def test_the_same_data_under_two_names_are_one_table_and_are_paired(tmp_path: Path) -> None:
    for model, name in (("r20", "npz:/data/cifar10"), ("r18", "npz:/data/cifar10/test.npz")):
        run = with_data(info(model, (10, 100), 10), name)
        store(tmp_path, run, [row(image, None, (10, 100)) for image in range(10)])
    report = write_report(tmp_path, None)
    assert set(report.tables["whitebox"]["data"]) == {"npz:cifar10"}
    assert len(report.tables["paired"]) == 2


def test_lines_of_differing_n_have_a_note_and_warned_ones_a_mark(tmp_path: Path) -> None:
    store(tmp_path, info("r20", (10, 100), 10), [row(i, None, (10, 100)) for i in range(10)])
    observed = {"differentiated": 8, "zero_gradient": 8}
    warned = replace(info("r18", (10, 100), 8), found={"observed": observed})
    store(tmp_path, warned, [row(i, None, (10, 100)) for i in range(8)])
    report = write_report(tmp_path, None)
    table = report.tables["whitebox"]
    assert table["note"].to_list() == ["see warnings", "see warnings", "", ""]
    texts = table["warnings"].to_list()
    assert "gradient of exactly zero" in texts[0]
    assert texts[2:] == ["", ""]
    assert any("gradient of exactly zero" in text for text in report.warnings)
    assert "n differs, from 8 to 10" in report.chapters[0].accuracies[0].notes[0]
    labels = [curve.label for curve in curves_of(table.astype({"iters": float}), {})]
    assert labels == ["r18 (see warnings)", "r20, 10 images"]


def test_different_data_of_one_short_name_keep_their_paths(tmp_path: Path) -> None:
    for name, digit in (("npz:/one/cifar10", "1"), ("npz:/two/cifar10", "2")):
        store(tmp_path, with_data(info(images=1), name, digit * 16), [row(0, None, (10, 100))])
    names = {run.info.data.name for run in named(read_runs(tmp_path))}
    assert names == {"npz:/one/cifar10", "npz:/two/cifar10"}


def test_networks_that_differ_by_preprocessing_have_two_names(tmp_path: Path) -> None:
    for text in ("", "resize to 32"):
        run = info(images=1)
        other = replace(run, model=replace(run.model, spec=None, preprocessing=text))
        store(tmp_path, other, [row(0, None, (10, 100))])
    runs, _ = selected(read_runs(tmp_path), Selection())
    assert {run.info.model.name for run in runs} == {
        "r20 (no preprocessing)",
        "r20 (resize to 32)",
    }


def test_files_of_an_earlier_report_do_not_stay_beside_newer_ones(results: Path) -> None:
    write_report(results, None)
    page = (results / "report.html").read_text()
    (results / "mine.csv").write_text("kept")
    listed = results / "report-files.json"
    listed.write_text(json.dumps([*json.loads(listed.read_text()), "zoo.csv", "../outside.csv"]))
    (results / "zoo.csv").write_text("of the last report")
    (results.parent / "outside.csv").write_text("kept")
    store(results, info("flat", (), 1, attack="autoattack"), [
        {**row(0, None, ()), "pred": {"autoattack": 3}}])  # fmt: skip
    write_report(results, None, Selection(models=("flat",)))
    assert (results / "report.html").read_text() != page
    assert "r20-null" not in (results / "report.html").read_text()
    assert not (results / "zoo.csv").exists()
    assert (results / "mine.csv").read_text() == "kept"
    assert (results.parent / "outside.csv").read_text() == "kept"


def test_the_worst_case_counts_every_attack_of_the_threat_image_by_image(tmp_path: Path) -> None:
    pgd = [row(image, 10 if image < 3 else None, (10,), clean=image != 9) for image in range(10)]
    store(tmp_path, info("r20", (10,), 10), pgd)
    broken = {2, 3}
    auto = [
        {
            **row(image, None, (), clean=image != 9),
            "pred": {"autoattack": 5 if image in broken else 3},
        }
        for image in range(6)
    ]
    store(tmp_path, info("r20", (), 6, attack="autoattack"), auto)
    other = info("r20", (10,), 1, eps=4 / 255)
    store(tmp_path, other, [row(0, 10, (10,))])
    table = headline(read_runs(tmp_path), ())
    line = table[table["eps"] == "8/255"].iloc[0]
    # 0, 1, 2 fall to PGD, 3 to AutoAttack, 9 is wrong when clean.
    assert (line["n"], line["clean"], line["worst_case"]) == (10, 90.0, 50.0)
    assert line["attacks"] == "autoattack, pgd 10"
    assert line["doctor"] == "not seen"


def test_the_headline_says_what_the_doctor_says(results: Path) -> None:
    run = next(run for run in read_runs(results) if run.info.attack.eps_text == "8/255")
    findings = examined(run.info, Check("gradients", "fail", "zero"))
    write_findings(results, findings)
    table = headline(read_runs(results), read_findings(results))
    assert sorted(table["doctor"]) == ["1 failed", "not seen", "not seen"]
    assert pd.isna(table["worst_case"]).sum() == 0


def test_the_headline_is_written_and_last(results: Path) -> None:
    report = write_report(results, None)
    assert report.chapters[-1].name == "headline"
    read = pd.read_csv(results / "headline.csv")
    assert read["worst_case"].to_list() == report.tables["headline"]["worst_case"].to_list()


def test_a_damaged_line_that_leaves_a_run_unfinished_is_named(results: Path) -> None:
    run = read_runs(results)[0]
    rows = run.path / "rows-0.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b'"clean": 3', b'"clean": 4', 1))
    _, lines = selected(read_runs(results), Selection())
    assert lines[0].startswith(f"{run.name} is left out: ")
    assert lines[1].startswith(f"{rows}, line 1 does not fit its check")


def pairs_of(results: Path, **wanted: object) -> list[tuple[str, str]]:
    report = write_report(results, None, Selection(**wanted))  # type: ignore[arg-type]
    table = report.tables["paired"]
    at_100 = table[table["iters"] == 100]
    return sorted(zip(at_100["model"], at_100["against"], strict=True))


def test_a_baseline_is_what_the_others_are_compared_with(tmp_path: Path) -> None:
    for model in ("a", "b", "c"):
        decaying(tmp_path, model, ROBUST)
    assert pairs_of(tmp_path) == [("b", "a"), ("c", "a"), ("c", "b")]
    with_b = pairs_of(tmp_path, baseline="b")
    assert sorted(map(sorted, with_b)) == [["a", "b"], ["b", "c"]]
    assert "Only those with b." in (tmp_path / "whitebox.md").read_text()
    with pytest.raises(BadValue, match="no model to compare with 'd'"):
        pairs_of(tmp_path, baseline="d")


def test_many_networks_are_compared_with_the_best_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "MANY", 3)
    for model in ("a", "b", "d"):
        decaying(tmp_path, model, ROBUST)
    decaying(tmp_path, "c", {**ROBUST, 100: ROBUST[100] + 1})
    assert pairs_of(tmp_path) == [("a", "c"), ("b", "c"), ("d", "c")]
    assert "compares with its best network" in (tmp_path / "whitebox.md").read_text()


def test_patterns_select_runs_of_any_of_a_key_and_all_keys(tmp_path: Path) -> None:
    for model in ("r20", "r20-mean", "r18"):
        for eps in (4, 8):
            decaying(tmp_path, model, ROBUST, eps=eps / 255)
    runs = read_runs(tmp_path)

    def chosen(*select: str) -> set[tuple[str, str]]:
        found, _ = selected(runs, Selection(select=select))
        return {(run.info.model.name, run.info.attack.eps_text) for run in found}

    assert chosen("model=r20*", "eps=8/255") == {("r20", "8/255"), ("r20-mean", "8/255")}
    assert chosen("model=r20", "model=r18", "eps=4/255") == {("r20", "4/255"), ("r18", "4/255")}
    assert len(chosen("norm=linf", "attack=pgd", "data=fashion*")) == 6
    for wrong, text in (
        ("eps", "not KEY=PATTERN"), ("esp=8/255", "'eps'"), ("eps=2/255", "4/255, 8/255"),
    ):  # fmt: skip
        with pytest.raises(BadValue, match=text):
            chosen(wrong)


def test_a_run_that_contradicts_another_about_labels_is_named_and_left_out(
    results: Path,
) -> None:
    before = write_report(results, None).tables["whitebox"]
    run = info("liar", (10, 100), 4)
    rows = [{**row(image, None, (10, 100)), "label": 7} for image in range(4)]
    store(results, run, rows)
    report = write_report(results, None)
    assert report.tables["whitebox"].equals(before)
    (line,) = [text for text in report.warnings if "another label" in text]
    assert line.startswith(f"{run.name} is left out: it gives 4 images, the first being 0")


def test_a_liar_with_more_images_is_left_out_and_not_those_who_agree(results: Path) -> None:
    before = write_report(results, None).tables["whitebox"]
    assert len(read_runs(results)) > 1
    run = replace(info("liar", (10, 100), 200), started="2020-01-01T00:00:00+00:00")
    store(results, run, [{**row(i, None, (10, 100)), "label": 7} for i in range(200)])
    report = write_report(results, None)
    assert report.tables["whitebox"].equals(before)
    assert [text.split(" is left out")[0] for text in report.warnings if "label" in text] == [
        run.name
    ]


def test_of_many_unfinished_runs_only_some_are_named(results: Path) -> None:
    for number in range(12):
        store(results, info(f"begun-{number}"), [row(0, None, (10, 100))])
    _, lines = selected(read_runs(results), Selection())
    assert len(lines) == 11
    assert lines[-1] == "2 further unfinished runs are left out (--unfinished shows them)"
