"""`compare --until-decided`: ordinary runs, extended until the test decides; killed and resumed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fdbench.commands import main
from fdbench.evaluation.until_decided import _next

NETS = """
import torch
from torch import nn

class Bright(nn.Module):
    # class 1 where the mean is above a half; `blur` is how far the image must be from it
    def __init__(self, shift):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(float(shift)))
    def forward(self, x):
        score = 40 * (x.flatten(1).mean(1) - 0.5) + self.shift
        return torch.stack([-score, score], 1)

def good(): return Bright(0.0).eval()
def same(): return Bright(0.001).eval()
def bad(): return Bright(3.0).eval()
"""
LINE = (
    "--until-decided --attack pgd --set iters=2 --eps 2/255 --data npz:bright --batch-size 20 "
    "--threads 1"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three networks, and images whose class is whether they are bright."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    rng = np.random.default_rng(0)
    (tmp_path / "bright").mkdir()
    for part, count in (("train", 40), ("test", 200)):
        y = rng.integers(2, size=count)
        level = np.where(y == 1, 140, 115)[:, None, None, None]
        x = np.clip(level + rng.normal(0, 4, (count, 8, 8, 3)), 0, 255).astype(np.uint8)
        np.savez(tmp_path / "bright" / f"{part}.npz", x=x, y=y)
    return tmp_path


def fdbench(line: str) -> Result:
    result = CliRunner().invoke(main, line.split())
    assert "Traceback" not in result.output
    return result


def test_a_clear_difference_takes_a_few_batches_and_an_equal_pair_all_images(home: Path) -> None:
    clear = fdbench(f"compare nets.py:good nets.py:bad {LINE} --json")
    assert clear.exit_code == 0, clear.output
    found = json.loads(clear.stdout)
    assert found["more_robust"] == "nets.py:good"
    assert found["n"] < found["images"] == 200
    assert found["difference_low"] > 0
    equal = fdbench(f"compare nets.py:good nets.py:same {LINE}")
    assert "not distinguishable" in equal.stdout
    assert "After all 200 images" in equal.stdout


def test_a_killed_comparison_continues_to_the_same_answer(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"compare nets.py:good nets.py:bad {LINE} --json"
    whole = json.loads(fdbench(f"{line} --results whole").stdout)
    module = sys.modules[_next.__module__]
    evaluate, calls = module.evaluate, []

    def killed(evaluation: object, say: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(evaluation, say)

    with monkeypatch.context() as patch:
        patch.setattr(module, "evaluate", killed)
        stopped = fdbench(f"{line} --results cut")
    assert stopped.exit_code == 130
    assert "continue" in stopped.stderr
    assert json.loads(fdbench(f"{line} --results cut").stdout) == whole
    assert len(calls) == 2
    rows = [sorted(p.read_text() for p in Path(f).glob("runs/*/rows-0.jsonl")) for f in
            ("whole", "cut")]  # fmt: skip
    assert rows[0] == rows[1]


def test_its_runs_are_those_of_the_attack_with_a_limit(home: Path) -> None:
    fdbench("attack pgd --iters 2 --eps 2/255 --data npz:bright --limit 60 --threads 1 "
            "--model nets.py:good --model nets.py:bad")  # fmt: skip
    before = {path: path.read_text() for path in Path("results/runs").glob("*/rows-0.jsonl")}
    assert len(before) == 2
    result = fdbench(f"compare nets.py:good nets.py:bad {LINE}")
    assert result.exit_code == 0
    assert "60 of 200 images are known" in result.stderr
    after = {path: path.read_text() for path in Path("results/runs").glob("*/rows-0.jsonl")}
    assert after == before, "the rows there were enough"


WRONG = {
    "itself": ("good nets.py:good --until-decided --data npz:bright", "are the same network"),
    "an attack per batch": (
        "good nets.py:bad --until-decided --attack autoattack --data npz:bright", "per batch"),
    "two images' sets": ("good nets.py:bad --until-decided", "give --data"),
    "an ignored option": ("good nets.py:bad --eps 8/255", "--eps needs --until-decided"),
    "no parameter": (
        "good nets.py:bad --until-decided --attack pgd --set steps=3 --data npz:bright", "'steps'"),
    "no attack": ("good nets.py:bad --until-decided --attack pdg --data npz:bright", "'pgd'"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_pair_that_cannot_be_compared_is_refused_before_anything_is_written(
    home: Path, what: str
) -> None:
    line, text = WRONG[what]
    result = fdbench(f"compare nets.py:{line}")
    assert result.exit_code == 2, result.output
    assert text in " ".join(result.stderr.split())
    assert not (home / "results").exists()


def test_steps_are_whole_batches_and_a_tenth_of_what_is_known() -> None:
    assert [_next(both, 250, 10_000) for both in (0, 250, 3000, 5000, 9900)] == [
        250, 500, 3500, 5500, 10_000,
    ]  # fmt: skip
