"""Options from a file, and where each value comes from."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fdbench.commands import main

RUN = """
[attack.pgd]
model = "net.py:load"
iters = [10, 100]
eps = "4/255"
json = true
"""


def run(folder: Path, text: str, line: str, **environment: str) -> Result:
    path = folder / "run.toml"
    path.write_text(text)
    words = ["--config", str(path), *line.split()]
    return CliRunner(env=environment).invoke(main, words, prog_name="fdbench")


def test_each_value_is_shown_with_its_origin_and_nothing_runs(tmp_path: Path) -> None:
    line = f"--show-config attack pgd --limit 3 --results {tmp_path / 'results'}"
    result = run(tmp_path, RUN, line, FDBENCH_ATTACK_PGD_SEED="7", FDBENCH_ATTACK_PGD_EPS="2/255")
    assert result.exit_code == 0, result.output
    shown = {one.split()[0]: one for one in result.stdout.splitlines()[1:]}
    assert "(10, 100)  (file)" in shown["--iters"]
    assert "('net.py:load',)  (file)" in shown["--model"]
    assert "3  (flag)" in shown["--limit"]
    assert "7  (environment)" in shown["--seed"]
    assert "2/255  (environment)" in shown["--eps"], "the environment comes before the file"
    assert "test  (default)" in shown["--split"]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[attack.pdg]\nx = 1", "Did you mean 'pgd'"),
        ("[attack.pgd]\nitres = 1", "no option in [attack.pgd] of --config 'itres'. Did you mean"),
        ("[attack.pgd]\nuntargeted = true", "write targeted = false"),
        ("[attack", "not a readable TOML file"),
        ("limit = 3", "outside the commands' tables"),
    ],
)
def test_a_wrong_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    result = run(tmp_path, text, "list attacks")
    assert result.exit_code in (1, 2)
    assert message in result.stderr


def test_a_file_sets_what_a_command_does(tmp_path: Path) -> None:
    result = run(tmp_path, "[list.attacks]\njson = true", "list attacks")
    assert result.stdout.startswith("[{")


def test_info_names_versions_device_and_weights(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["info", "--results", str(tmp_path)])
    assert result.exit_code == 0
    for word in ("fdbench", "torch", "device", "bfloat16", f"none in {tmp_path}"):
        assert word in result.stdout
