"""`fdbench eval`: attacks, doctor, verify and report from one command, which can be killed."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from killing import killed
from users import at_home

from fdbench.api import assessment
from fdbench.commands import cli
from fdbench.evaluation import CHECKS
from fdbench.evaluation.budget import Step, announcement, in_words
from fdbench.store import Workspace, read_findings

_NETS = """
from conftest import frozen
from test_observation import NearestMean

def load(scale=1.0):
    return frozen(NearestMean())

def tuned(scale=1.0):
    return frozen(NearestMean(lambda net, x: float(scale) * net.logits(x)))
"""
LINE = "eval --model nets.py:load --data fashion-mini --eps 8/255 --batch-size 10"
QUICK = f"{LINE} --quick --limit 20"


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return at_home(tmp_path, monkeypatch, _NETS)


def run(words: str) -> Result:
    return CliRunner().invoke(cli.main, words.split())


def rows(results: str = "results") -> dict[str, list[dict[str, Any]]]:
    """Every run's rows, without the times they took."""
    found = {}
    for folder in sorted(Path(results).glob("runs/*")):
        lines = (folder / "rows-0.jsonl").read_text().splitlines()
        found[folder.name] = [json.loads(line) for line in lines]
        for row in found[folder.name]:
            row.pop("seconds", None)
            row.pop("check", None)
    return found


@pytest.mark.usefixtures("cwd")
def test_one_command_attacks_verifies_and_reports_and_a_second_finds_it_done() -> None:
    first = run(QUICK)
    assert first.exit_code == 0, first.output
    assert "PGD 10, 20" in first.stderr, "the cost of every step is announced"
    assert " in all, at " in first.stderr
    assert first.stdout.count(" 0 fail") == 2
    assert first.stdout.count("fast") > 2
    assert "left after each attack: clean 75.0, untargeted 70.0" in first.stdout
    assert len(rows()) == 2
    assert all(len(one) == 20 for one in rows().values())
    assert list(Path("results").glob("whitebox.md"))
    before = rows()
    again = run(QUICK)
    assert again.exit_code == 0, again.output
    assert again.stderr.count(": 0 of 20 images to do") == 2
    assert rows() == before


@pytest.mark.usefixtures("cwd")
def test_killed_in_each_attack_the_same_command_ends_with_the_same_rows() -> None:
    assert run(f"{QUICK} --results whole").exit_code == 0
    words = ["-m", "fdbench", *QUICK.split()]

    def begun(attack: str) -> bool:
        return any(path.stat().st_size for path in Path("results").glob(f"runs/*{attack}*/rows-*"))

    for attack in ("-pgd-", "-fast-"):
        killed(partial(begun, attack), *words)
    assert run(QUICK).exit_code == 0
    assert rows() == rows("whole")


@pytest.mark.usefixtures("cwd")
def test_the_doctors_findings_are_kept_and_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    depth = assessment.Depth("quick", 20, 20)
    monkeypatch.setattr(assessment, "FULL", depth)
    first = run(f"{LINE} --limit 20")
    assert first.exit_code == 0, first.output
    (findings,) = read_findings(Workspace(Path("results")))
    assert findings.images == 20
    assert "doctor" in first.stderr.lower()
    assert run(f"{LINE} --limit 20").exit_code == 0
    assert read_findings(Workspace(Path("results"))) == [findings]


@pytest.mark.usefixtures("cwd")
def test_a_stopped_examination_continues_after_its_last_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = "doctor --model nets.py:load --data fashion-mini --eps 8/255 --limit 20"
    assert run(f"{words} --results whole").exit_code == 0

    def stopped(patient: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(CHECKS, "noise against PGD", stopped)
        assert run(words).exit_code == 130
    assert read_findings(Workspace(Path("results"))) == []
    again = run(words)
    assert again.exit_code == 0, again.output
    done = list(CHECKS).index("noise against PGD")
    assert f"continuing after {done} of {len(CHECKS)} checks" in again.stderr
    whole, one = (read_findings(Workspace(Path(name)))[0] for name in ("whole", "results"))
    assert one.checks == whole.checks
    assert [path.suffix for path in Path("results/doctor").iterdir()] == [".json"]


@pytest.mark.usefixtures("cwd")
def test_a_damaged_row_is_judged_again_and_a_run_that_does_not_verify_exits_3() -> None:
    assert run(QUICK).exit_code == 0
    path = next(Path("results").glob("runs/*-pgd-*/rows-0.jsonl"))
    lines = path.read_text().splitlines()
    row = json.loads(lines[0])
    row["pred"] = {name: (value + 1) % 10 for name, value in row["pred"].items()}
    path.write_text("\n".join([json.dumps(row), *lines[1:]]) + "\n")
    result = run(QUICK)
    assert result.exit_code == 0, result.output
    assert "their images are judged again" in result.stderr.replace("\n", " ")
    shard = next(path.parent.glob("adv/*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    result = run(QUICK)
    assert result.exit_code == 3
    assert "a run does not verify" in result.stderr


@pytest.mark.usefixtures("cwd")
def test_a_run_whose_images_were_not_kept_is_named() -> None:
    line = "attack pgd --iters 10,20 --untargeted"
    assert run(f"{line} {LINE.removeprefix('eval')} --limit 20").exit_code == 0
    result = run(QUICK)
    assert result.exit_code == 0, result.output
    assert "was made without --save-adv: its images can't be checked" in result.stderr


@pytest.mark.usefixtures("cwd")
def test_strict_refuses_a_network_whose_logits_hide_its_gradients() -> None:
    line = QUICK.replace("nets.py:load", "nets.py:tuned?scale=1000")
    assert run(line).exit_code == 0
    result = run(f"{line} --strict")
    assert result.exit_code == 3
    assert "--strict" in result.stderr


def test_the_cost_of_every_step_is_announced_in_time() -> None:
    steps = [Step("pgd 10", 100, 10.0), Step("autoattack", 100, 5000.0, at_most=True)]
    lines = announcement(steps, 0.001)
    assert "100 images, 10 gradients each: about 1 s" in lines[0]
    assert "at most 5000 gradients each: at most 8 min" in lines[1]
    assert lines[2].strip() == "at most 8 min in all, at 1 ms a gradient"
    assert [in_words(s) for s in (0.2, 89.0, 120.0, 7300.0)] == [
        "1 s",
        "89 s",
        "2 min",
        "2 h 2 min",
    ]
