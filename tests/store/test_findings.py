"""The doctor's findings are read back as written, and shown for the right network only."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fdbench.errors import FdbenchError
from fdbench.store.findings import Check, Findings, findings_about, read_findings, write_findings

FINDINGS = Findings(
    model="tv:resnet50",
    weights="ab" * 32,
    data="npz:a/b",
    checks=(
        Check("more iterations", "pass", "40.1 % after 100, 40.0 % after 1000"),
        Check("noise", "pass", "90.0 %"),
        Check("transfer", "skipped", "no surrogate was given"),
    ),
    started="2025-01-01T00:00:00+00:00",
)


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


def test_only_findings_about_the_same_weights_are_shown() -> None:
    assert findings_about([FINDINGS], ["cd" * 4]) == []
    assert findings_about([FINDINGS], []) == []
    assert findings_about([FINDINGS], ["cd" * 4, "ab" * 4]) == [
        "tv:resnet50 on npz:a/b: doctor passed (2 checks, 1 skipped)"
    ]


@pytest.mark.parametrize(
    "change", [{"checks": [{"check": "x"}]}, {"weights": 3}, {"more": 1}, {"checks": 3}]
)
def test_malformed_findings_are_refused_by_name(tmp_path: Path, change: dict[str, object]) -> None:
    path = write_findings(tmp_path, FINDINGS)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FdbenchError, match=rf"{path.name} is not what the doctor wrote"):
        read_findings(tmp_path)


def test_a_verdict_is_one_of_three(tmp_path: Path) -> None:
    path = write_findings(tmp_path, FINDINGS)
    path.write_text(path.read_text().replace("skipped", "perhaps", 1))
    with pytest.raises(FdbenchError, match="verdicts are"):
        read_findings(tmp_path)
