"""The doctor's findings are read back as written, and shown for the right network only."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from madeup import examined, info

from fdbench.store import Workspace
from fdbench.store.findings import (
    Check,
    deepest,
    findings_about,
    read_findings,
    read_unfinished,
    write_findings,
    write_unfinished,
)

CHECKS = (
    Check("more iterations", "pass", "40.1 % after 100, 40.0 % after 1000"),
    Check("noise", "pass", "90.0 %"),
    Check("transfer", "skipped", "no surrogate was given"),
)
RUN = info("r20")
FINDINGS = examined(RUN, *CHECKS)


def test_findings_are_read_back_and_replaced_by_later_ones(tmp_path: Path) -> None:
    path = write_findings(tmp_path, FINDINGS)
    assert path.parent == tmp_path / "doctor"
    assert read_findings(tmp_path) == [FINDINGS]
    again = replace(FINDINGS, started="2026")
    assert write_findings(tmp_path, again) == path
    assert read_findings(tmp_path) == [again]
    assert write_findings(tmp_path, replace(FINDINGS, weights="cd" * 32)) != path
    assert len(read_findings(tmp_path)) == 2


def test_without_the_doctor_there_are_no_findings(tmp_path: Path) -> None:
    assert read_findings(tmp_path) == []


def test_skipped_checks_do_not_count_as_passed(tmp_path: Path) -> None:
    assert FINDINGS.lines() == ["doctor passed (2 checks, 1 skipped)"]
    assert replace(FINDINGS, checks=FINDINGS.checks[:2]).lines() == ["doctor passed (2 checks)"]


def test_each_failed_check_has_a_line_and_passed_ones_have_none() -> None:
    failed = tuple(Check(name, "fail", f"{name} is bad") for name in ("one", "two"))
    findings = replace(FINDINGS, checks=FINDINGS.checks + failed)
    assert findings.lines() == ["doctor: one: one is bad", "doctor: two: two is bad"]


def test_findings_about_a_run_say_how_much_was_examined() -> None:
    assert findings_about([FINDINGS], [RUN]) == [
        "r20 on fashion-mini test, linf 8/255, 200 images: doctor passed (2 checks, 1 skipped)"
    ]
    assert findings_about([FINDINGS], [RUN, RUN]) == findings_about([FINDINGS], [RUN])


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "cd" * 32},
        {"norm": "l2"},
        {"eps": 0.05 / 255},
        {"fingerprint": "e" * 16},
        {"preprocessing": "JPEG"},
        {"norm": None, "eps": None},
    ],
)
def test_findings_of_another_network_threat_or_data_set_are_credited_to_no_run(
    change: dict[str, Any],
) -> None:
    other = replace(FINDINGS, **change)
    assert findings_about([other], [RUN]) == ["doctor has not seen this threat: r20"]
    assert findings_about([other, FINDINGS], [RUN]) == findings_about([FINDINGS], [RUN])


def test_only_the_networks_of_the_runs_are_named() -> None:
    assert findings_about([FINDINGS], []) == []
    assert findings_about([FINDINGS], [info("r18"), info("r50")]) == [
        "doctor has not seen this threat: r18, r50"
    ]


def test_each_network_data_set_and_threat_has_a_file_of_its_own(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {}, {"eps": 4 / 255}, {"norm": "l2", "eps": 0.5}, {"weights": "cd" * 32},
        {"fingerprint": "e" * 16}, {"preprocessing": "JPEG"},
    ]  # fmt: skip
    paths = {write_findings(tmp_path, replace(FINDINGS, **change)) for change in changes}
    assert len(paths) == len(read_findings(tmp_path)) == len(changes)
    assert write_findings(tmp_path, FINDINGS).name.startswith("r20-fashion-mini-linf-8-")


def test_a_first_look_does_not_replace_what_was_found_on_more_images(tmp_path: Path) -> None:
    failed = (Check("loss", "fail", "it does not rise"),)
    few = replace(FINDINGS, images=20, started="2026")
    for one in (replace(FINDINGS, checks=failed), few):
        write_findings(tmp_path, one)
    known = read_findings(tmp_path)
    assert len(known) == 2
    assert findings_about(known, [RUN]) == [
        "r20 on fashion-mini test, linf 8/255, 200 images: doctor: loss: it does not rise"
    ]
    later = replace(FINDINGS, started="2027", seed=1)
    assert deepest([*known, later], RUN) == later, "of as many images, the latest"


@pytest.mark.parametrize(
    ("change", "kept"),
    [({"started": "2026"}, 3), ({"surrogates": "r18 abc"}, 0), ({"expected": "90 within 5"}, 0)],
)
def test_checks_of_a_killed_examination_are_taken_up_by_the_same_one_only(
    tmp_path: Path, change: dict[str, Any], kept: int
) -> None:
    workspace = Workspace(tmp_path)
    about = replace(FINDINGS, checks=())
    assert read_unfinished(workspace, about) == ()
    write_unfinished(workspace, FINDINGS)
    assert len(read_unfinished(workspace, replace(about, **change))) == kept
    assert read_findings(workspace) == [], "they are no findings yet"


FIRST_VERSION = {
    "model": "r20",
    "weights": RUN.model.weights,
    "data": "fashion-mini",
    "checks": [{"check": "noise", "verdict": "pass", "found": "90.0 %"}],
    "started": "2025-01-01T00:00:00+00:00",
}


def test_a_file_of_the_first_version_is_read_but_its_threat_is_unknown(tmp_path: Path) -> None:
    folder = tmp_path / "doctor"
    folder.mkdir()
    (folder / "r20-72323000-fashion-mini.json").write_text(json.dumps(FIRST_VERSION))
    (old,) = read_findings(tmp_path)
    assert old.title == "r20 on fashion-mini, an unknown threat"
    assert findings_about([old], [RUN]) == ["doctor has not seen this threat: r20"]


def unsealed(path: Path) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(path.read_text())
    del table["check"]
    return table


def test_edited_findings_are_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_findings(tmp_path, FINDINGS)
    path.write_text(path.read_text().replace("skipped", "pass", 1))
    assert read_findings(tmp_path) == []
    assert f"{path.name} was edited" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [{"checks": [{"check": "x"}]}, {"weights": 3}, {"more": 1}, {"checks": 3}]
)
def test_malformed_findings_are_named_and_left_out(
    tmp_path: Path, change: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_findings(tmp_path, FINDINGS)
    path.write_text(json.dumps({**unsealed(path), **change}))
    assert read_findings(tmp_path) == []
    assert f"{path.name} is not what the doctor wrote" in capsys.readouterr().err


def test_a_verdict_is_one_of_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_findings(tmp_path, FINDINGS)
    path.write_text(json.dumps(unsealed(path)).replace("skipped", "perhaps", 1))
    assert read_findings(tmp_path) == []
    assert "verdicts are" in capsys.readouterr().err
