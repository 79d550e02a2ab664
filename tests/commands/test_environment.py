"""Environment variables that no option reads are errors."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from fdbench.commands import main
from fdbench.commands.environment import variables


def test_known_variables_are_those_that_click_reads() -> None:
    known = set(variables(main))
    assert {
        "FDBENCH_ATTACK_PGD_ITERS",
        "FDBENCH_TRAIN_EPOCHS",
        "FDBENCH_LIST_RUNS_RESULTS",
    } <= known


def test_an_unknown_variable_is_answered_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDBENCH_ATTACK_PGD_ITER", "3")
    result = CliRunner().invoke(main, ["list", "data"], prog_name="fdbench")
    assert result.exit_code == 2
    assert "Did you mean FDBENCH_ATTACK_PGD_ITERS?" in result.stderr


def test_variables_of_the_tests_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FDBENCH_TEST_DATA", str(tmp_path))
    assert CliRunner().invoke(main, ["list", "data"], prog_name="fdbench").exit_code == 0
