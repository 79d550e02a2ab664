"""What is written and printed: all numbers in the files, a table that fits on the screen."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from madeup import decaying, examined, info, row, store
from rich.console import Console

from fdbench import console
from fdbench.errors import BadValue, FdbenchError
from fdbench.reporting.parts import whitebox_parts
from fdbench.reporting.render.formats import RENDERERS
from fdbench.reporting.render.terminal import fit
from fdbench.reporting.report import write_report
from fdbench.reporting.selection import Selection
from fdbench.store.findings import Check, write_findings

UNFINISHED = Selection(unfinished=True)
TEXTS = ("csv", "md", "tex")
ROBUST = {0: 90, 10: 60, 100: 40}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for model in ("r20", "r20-nonlocal-gauss"):
        decaying(tmp_path, model, ROBUST)
    return tmp_path


def printed(
    results: Path,
    capsys: pytest.CaptureFixture[str],
    fmt: str = "table",
    width: int = 100,
    wanted: Selection = UNFINISHED,
) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "out", Console(width=width, markup=False, highlight=False))
        write_report(results, fmt, wanted)
    return capsys.readouterr().out


def test_without_runs_the_error_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(FdbenchError, match=r"(?s)no runs.*fdbench train.*fdbench attack pgd"):
        write_report(tmp_path)


def test_unknown_format_is_refused_before_anything_is_written(results: Path) -> None:
    with pytest.raises(BadValue, match=r"no format 'cvs'.*'csv'"):
        write_report(results, "cvs")
    assert not (results / "whitebox.csv").exists()


def test_files_hold_the_tables_and_the_figure(results: Path) -> None:
    report = write_report(results, "csv")
    names = {path.name for path in results.iterdir()}
    stem = {f"whitebox.{ending}" for ending in (*TEXTS, "png", "svg")}
    others = {"paired.csv", "report.html", "report-files.json"}
    others |= {f"{name}.{ending}" for name in ("headline", "paper") for ending in TEXTS}
    assert names == {*stem, *others, "runs"}
    read = pd.read_csv(results / "whitebox.csv")
    assert read["robust"].to_list() == report.tables["whitebox"]["robust"].to_list()
    assert len(pd.read_csv(results / "paired.csv")) == 2


@pytest.mark.draws
def test_report_twice_writes_the_same_bytes(results: Path) -> None:
    def content() -> dict[str, bytes]:
        write_report(results, "html")
        return {path.name: path.read_bytes() for path in results.glob("*.*")}

    assert content() == content()


@pytest.mark.parametrize("width", [100, 80, 60])
@pytest.mark.parametrize("targeted", [True, False])
def test_table_fits_the_screen_and_keeps_its_names(
    results: Path, capsys: pytest.CaptureFixture[str], width: int, targeted: bool
) -> None:
    decaying(results, "r152-nonlocal-gauss", ROBUST, targeted=targeted, eps=16 / 255)
    text = printed(results, capsys, width=width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    for word in ("r152-nonlocal-gauss", "r20-nonlocal-gauss ", "40.0 [30.9, 49.8]"):
        assert word in text


def test_columns_that_never_change_go_to_the_caption(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(results, capsys)
    assert "fashion-mini test, linf 8/255, untargeted, white-box" in text
    assert "All rows: n 100, attack pgd, loss ce, restarts 1, alpha 2/255, precision fp32" in text
    assert "published" not in text
    decaying(results, "r20", ROBUST, restarts=5)
    header = next(line for line in printed(results, capsys).splitlines() if "model" in line)
    assert "restarts" in header


def test_shortening_to_a_narrow_screen_is_noted_and_spares_the_markdown(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Shortened" not in printed(results, capsys, width=100)
    assert "Shortened to 60 columns" in printed(results, capsys, width=60)
    assert "| 90.0 [82.6, 94.5] | 40.0 [30.9, 49.8] |" in (results / "whitebox.md").read_text()


def test_wide_table_is_not_shortened(results: Path) -> None:
    for part in whitebox_parts(write_report(results, "csv").tables["whitebox"]):
        cells, shortened = fit(part.cells, part.kind, 200)
        assert not shortened
        assert cells == part.cells


def test_unfinished_runs_and_warnings_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_info = replace(info(), warnings=("the gradient vanishes",))
    store(tmp_path, run_info, [row(0, None, (10, 100))])
    store(tmp_path, info("r18"), [])
    text = printed(tmp_path, capsys)
    for word in ("1/100", "0/100", "incomplete", "no rows yet", "r20: the gradient vanishes"):
        assert word in text
    assert "- r20: the gradient vanishes" in (tmp_path / "whitebox.md").read_text()


def test_weights_are_shown_only_where_a_name_repeats(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "weights" not in printed(results, capsys)
    again = info()
    other = replace(again.model, weights="ab" * 32)
    store(results, replace(again, model=other, started="2026"), [row(0, None, (10, 100))])
    text = printed(results, capsys)
    for word in ("weights", "abababab", "older weights"):
        assert word in text


def test_markdown_holds_the_command_of_each_run(results: Path) -> None:
    write_report(results, "csv")
    text = (results / "whitebox.md").read_text()
    for word in ("`fdbench attack pgd --model r20`", "torch 2.11.0", "cpu a processor"):
        assert word in text


def test_bars_in_names_do_not_break_the_markdown(tmp_path: Path) -> None:
    decaying(tmp_path, "a|b", ROBUST)
    write_report(tmp_path, "csv")
    assert "| a\\|b | 10 |" in (tmp_path / "whitebox.md").read_text()


def test_page_is_self_contained_and_escapes_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decaying(tmp_path, "<b>$x</b>", ROBUST)
    assert printed(tmp_path, capsys, "html").strip() == str(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<b>$x" not in page
    assert "<img" not in page
    assert page.count("<link") == page.count('<link rel=icon href="data:,">') == 1
    assert "&lt;b&gt;$x&lt;/b&gt;" in page


def test_json_is_the_tables(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = json.loads(printed(results, capsys, "json"))
    assert [line["robust"] for line in output["whitebox"]] == [60, 40, 60, 40]
    assert output["paired"][0]["difference"] == 0
    assert output["warnings"] == []


def test_only_some_of_many_comparisons_are_printed_and_all_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in ("r20", "r20-mean", "r20-null", "r20-median", "r20-nonlocal-dot"):
        decaying(tmp_path, model, {0: 90, 1: 80, 10: 60, 100: 40})
    text = printed(tmp_path, capsys)
    assert "4 of 30 comparisons; the others are in paired.csv" in " ".join(text.split())
    read = pd.read_csv(tmp_path / "paired.csv")
    assert len(read) == 30
    assert set(read[read["shown"]]["iters"]) == {100}, "each attack at its largest budget"
    assert read["p_holm"].notna().sum() == 10, "corrected for every two: the best is one of them"


@pytest.mark.parametrize("fmt", RENDERERS)
def test_a_run_without_rows_crashes_no_format(tmp_path: Path, fmt: str) -> None:
    store(tmp_path, info(), [])
    write_report(tmp_path, fmt, UNFINISHED)
    assert not (tmp_path / "whitebox.png").exists()


@pytest.fixture
def both(results: Path) -> Path:
    """White-box runs of two networks, and black-box ones of the same."""
    for model in ("r20", "r20-nonlocal-gauss"):
        options = {"set": "madeup", "digest": "0123456789abcdef"}
        run_info = info(model, (), 4, attack="transfer", options=options)
        further = {"attackers": ["noise", "momentum", "smooth"]}
        answers = [(3, 3, 3), (3, 5, 3), (5, 5, 3), (5, 5, 5)]
        pred = [dict(zip(further["attackers"], image, strict=True)) for image in answers]
        rows = [{**row(i, None, ()), "pred": pred[i]} for i in range(4)]
        store(results, replace(run_info, further=further), rows)
    return results


def test_black_box_has_tables_and_files_of_its_own(
    both: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(both, capsys, width=120)
    assert text.index("white-box") < text.index("Black box: fashion-mini test, linf 8/255")
    assert "r20-nonlocal-gauss  100.0 [51.0, 100.0]" in text
    assert set(pd.read_csv(both / "whitebox.csv")["attack"]) == {"pgd"}
    assert len(pd.read_csv(both / "paired.csv")) == 2
    assert set(pd.read_csv(both / "blackbox-paired.csv")["attack"]) >= {"noise", "all-or-nothing"}
    read = pd.read_csv(both / "blackbox.csv").set_index(["model", "denominator"])
    assert read.loc[("r20", "all images"), "all-or-nothing"] == 25
    assert read.loc[("r20", "all images"), "all but 2"] == 75
    assert len(pd.read_csv(both / "blackbox-curve.csv")) == 2 * 2 * 3
    counts = both / "blackbox" / "madeup-01234567" / "accuracy_on_attacks.csv"
    assert counts.read_text().startswith(",r20,r20-nonlocal-gauss\nnoise,2,2\n")
    assert (both / "blackbox.png").is_file()
    markdown = (both / "blackbox.md").read_text()
    assert "![All-or-nothing accuracy against the number of attackers](blackbox.png)" in markdown
    assert "| model | clean | noise | momentum | smooth | all-or-nothing | all but 2 |" in markdown
    assert "Black box" not in (both / "whitebox.md").read_text()


@pytest.mark.parametrize("fmt", ["md", "csv", "html", "json"])
def test_every_format_has_both_chapters(
    both: Path, capsys: pytest.CaptureFixture[str], fmt: str
) -> None:
    text = printed(both, capsys, fmt)
    if fmt == "html":
        text = (both / "report.html").read_text()
        assert text.count("<figure class=chart") >= 2
    assert "all-or-nothing" in text
    assert "any_iterate" in text or "any iterate" in text


def test_black_box_alone_writes_no_empty_white_box(tmp_path: Path) -> None:
    run_info = info("r20", (), 1, attack="transfer", options={"set": "s", "digest": "d"})
    store(tmp_path, run_info, [{**row(0, None, ()), "pred": {"one": 3}}])
    write_report(tmp_path, "table")
    assert (tmp_path / "blackbox.csv").is_file()
    assert not list(tmp_path.glob("whitebox*"))


def test_the_doctors_failures_are_shown_under_each_table_of_that_network_and_threat(
    both: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = Check("noise", "fail", "random noise does as well as PGD")
    write_findings(both, examined(info(), failure))
    write_findings(both, replace(examined(info(), failure), model="r18", weights="9" * 64))
    line = "r20 on fashion-mini test, linf 8/255, 200 images: doctor: noise: random noise does as"
    text = printed(both, capsys)
    assert text.count(line) == 5, "two chapters' tables, and their comparisons"
    assert "r18" not in text
    assert (both / "whitebox.md").read_text().count(line) == 2
    assert (both / "blackbox.md").read_text().count(line) == 3


@pytest.mark.parametrize(
    "change", [{"eps": 0.05 / 255}, {"norm": "l2"}, {"fingerprint": "e" * 16}, {"eps": None}]
)
def test_what_the_doctor_saw_under_another_threat_is_not_credited_to_a_table(
    both: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    write_findings(both, replace(examined(info(), Check("noise", "pass", "weaker")), **change))
    text = printed(both, capsys)
    assert "doctor passed" not in text
    assert text.count("doctor has not seen this threat: r20") == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_results_are_named(results: Path) -> None:
    results.chmod(0o500)
    with pytest.raises(FdbenchError, match=r"(?s)can't write .*whitebox\.md.*--results DIR"):
        write_report(results)


BAD: dict[str, Any] = {
    "no JSON": "{",
    "nested": "[" * 100_000,
    "edited": {"seconds": 1e9},
    "wrong type": {"format": 3, "images": "many"},
    "a set elsewhere": {"format": 3, "attack": "a set elsewhere"},
}


@pytest.mark.parametrize("how", BAD)
def test_a_bad_run_is_named_and_the_rest_is_reported(
    results: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    whole = printed(results, capsys)
    run = info("r56", (), attack="transfer") if how == "a set elsewhere" else info("r56")
    path = store(results, run, []) / "run.json"
    table, change = json.loads(path.read_text()), BAD[how]
    if how == "a set elsewhere":
        table["attack"]["parameters"]["options"] = {"set": "../../..", "digest": "0" * 16}
        change = {"format": 3, "attack": table["attack"]}
    path.write_text(change if isinstance(change, str) else json.dumps({**table, **change}))
    before = sorted(results.parent.iterdir())
    report = write_report(results, None, UNFINISHED)
    assert path.parent.name in capsys.readouterr().err.replace("\n", "")
    assert set(report.tables["whitebox"]["model"]) == {"r20", "r20-nonlocal-gauss"}
    assert sorted(results.parent.iterdir()) == before
    assert printed(results, capsys) == whole
