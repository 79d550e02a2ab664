"""What the doctor found is read back as it was written, and said beside the right network."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fdbench.errors import FdbenchError
from fdbench.store.findings import Check, Findings, findings_about, read_findings, write_findings

FOUND = Findings(
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


def test_findings_come_back_and_later_ones_take_their_place(tmp_path: Path) -> None:
    path = write_findings(tmp_path, FOUND)
    assert path.parent == tmp_path / "doctor"
    assert read_findings(tmp_path) == [FOUND]
    again = replace(FOUND, started="2026")
    assert write_findings(tmp_path, again) == path
    assert read_findings(tmp_path) == [again]
    assert write_findings(tmp_path, replace(FOUND, weights="cd" * 32)) != path
    assert len(read_findings(tmp_path)) == 2


def test_nobody_asked_the_doctor(tmp_path: Path) -> None:
    assert read_findings(tmp_path) == []


def test_skipped_checks_have_not_passed(tmp_path: Path) -> None:
    assert FOUND.lines() == ["doctor passed (2 checks, 1 skipped)"]
    assert replace(FOUND, checks=FOUND.checks[:2]).lines() == ["doctor passed (2 checks)"]


def test_each_failed_check_has_its_line_and_nothing_passed_is_said() -> None:
    failed = tuple(Check(name, "fail", f"{name} is bad") for name in ("one", "two"))
    ill = replace(FOUND, checks=FOUND.checks + failed)
    assert ill.lines() == ["doctor: one: one is bad", "doctor: two: two is bad"]


def test_only_the_same_weights_are_spoken_of() -> None:
    assert findings_about([FOUND], ["cd" * 4]) == []
    assert findings_about([FOUND], []) == []
    assert findings_about([FOUND], ["cd" * 4, "ab" * 4]) == [
        "tv:resnet50 on npz:a/b: doctor passed (2 checks, 1 skipped)"
    ]


@pytest.mark.parametrize(
    "change", [{"checks": [{"check": "x"}]}, {"weights": 3}, {"more": 1}, {"checks": 3}]
)
def test_malformed_findings_are_refused_by_name(tmp_path: Path, change: dict[str, object]) -> None:
    path = write_findings(tmp_path, FOUND)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FdbenchError, match=rf"{path.name} is not what the doctor wrote"):
        read_findings(tmp_path)


def test_a_verdict_is_one_of_three(tmp_path: Path) -> None:
    path = write_findings(tmp_path, FOUND)
    path.write_text(path.read_text().replace("skipped", "perhaps", 1))
    with pytest.raises(FdbenchError, match="verdicts are"):
        read_findings(tmp_path)
