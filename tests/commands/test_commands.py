"""The commands beyond train and pgd, as typed: they work, and refuse wrong input clearly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import test_cli
from test_cli import TINY, folders, run

cwd = test_cli.cwd


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with two tiny networks of different seeds."""
    folder = tmp_path_factory.mktemp("results")
    for seed in (0, 1):
        result = run("train", TINY, f"--seed {seed} --name n{seed} --results {folder}")
        assert result.exit_code == 0, result.output
    return folder


WRONG = {
    "pixels of autoattack": ("attack autoattack --eps 8", 2, "Did you mean --eps 8/255?"),
    "one value's eps in l2": ("attack pgd --norm l2 --eps 8/255", 2, "Usual: --norm l2 --eps 0.5"),
    "one value's eps in l1": ("attack autoattack --norm l1 --eps 8px", 2, "--norm l1 --eps 12 at"),
    "one value's eps in l0": (
        "attack foolbox --attack L0FMNAttack --eps 8/255", 2, "Usual: --norm l0 --eps 72 at 32 px"),
    "unknown part": ("attack autoattack --only apgd", 2, "Did you mean"),
    "a part and a version": ("attack autoattack --only square --version plus", 2, "leave"),
    "unknown attack": ("attack foolbox --attack LinfPGD", 2, "LinfProjectedGradientDescentAttack"),
    "another's norm": ("attack foolbox --attack NewtonFoolAttack --norm linf", 2, "l2"),
    "unknown knob": ("attack foolbox --attack LinfDeepFoolAttack --set step=3", 2, "steps"),
    "not a setting": ("attack foolbox --attack LinfDeepFoolAttack --set steps", 2, "key=value"),
    "nobody attacks": ("attack transfer --model M", 2, "no attacker: give"),
    "unknown set": ("attack transfer --use nosuch --model M", 2, "no set 'nosuch'"),
    "set and surrogate": ("attack transfer --use S --surrogate M --model M", 2, "can't change it"),
    "suite of attackers": ("attack suite caad2017", 2, "fdbench attack transfer --attackers"),
    "attackers of a suite": (
        "attack transfer --attackers whitebox --surrogate SELF", 2, "fdbench attack suite"),
    "targets of an untargeted": (
        "attack pgd --targets least-likely --untargeted", 2, "contradicts --untargeted"),
    "no such targets": ("attack pgd --targets nofile.csv", 2, "nor a CSV file"),
    "early and targeted": ("attack pgd --stop-early --targeted", 2, "--stop-early needs"),
    "expectation": ("doctor --expect-clean most", 2, "is not a percentage"),
    "unknown run": ("verify nosuch", 2, "nosuch"),
    "unknown submission": ("submission new attack /proc", 1, "/proc is not empty"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_gets_one_clear_message_and_writes_nothing(
    cwd: Path, results: Path, what: str
) -> None:
    line, code, text = WRONG[what]
    result = run(line.replace("SELF", str(results / "checkpoints" / "n0.safetensors")))
    stderr = " ".join(result.stderr.replace("│", " ").split())
    assert text in stderr
    assert result.exit_code == code, stderr
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert list(cwd.iterdir()) == []


def test_an_l2_attack_on_a_network_not_trained_in_l2_needs_its_eps(results: Path) -> None:
    result = run(f"attack autoattack --norm l2 --limit 4 --results {results}")
    assert result.exit_code == 2
    assert "--norm l2 needs an --eps" in result.stderr


def test_autoattack_is_run_recorded_and_reported(results: Path) -> None:
    line = f"attack autoattack --only apgd-ce --limit 8 --batch-size 4 --results {results}"
    result = run(line, "--model n0 --eps 1/255 --json")
    assert result.exit_code == 0, result.stderr
    (info,) = json.loads(result.stdout)
    assert info["further"] == {"batch_size": 4, "images": 8}
    folder = results / "runs" / info["name"]
    rows = [json.loads(text) for text in (folder / "rows-0.jsonl").read_text().splitlines()]
    assert [row["image"] for row in rows] == list(range(8))
    for row in rows:
        assert (row["broken_by"] is None) == (row["pred"]["autoattack"] == row["label"])
    shown = run(f"report --results {results} --format csv")
    assert "autoattack" in shown.stdout


def test_foolbox_is_run_and_its_rows_verify(results: Path) -> None:
    words = "--attack LinfProjectedGradientDescentAttack --set steps=3 --eps 2/255 --save-adv"
    result = run(f"attack foolbox {words} --limit 8 --model n0 --results {results}")
    assert result.exit_code == 0, result.stderr
    (folder,) = folders(result)
    checked = run(f"verify {folder} --results {results}")
    assert checked.exit_code == 0, checked.output
    (rows,) = folder.glob("rows-0.jsonl")
    rows.write_text(rows.read_text().replace('"label": ', '"label": 1', 1))
    assert run(f"verify {folder} --results {results}").exit_code == 3


def test_transfer_makes_a_set_once_and_judges_it_twice(results: Path, cwd: Path) -> None:
    (cwd / "attacks").mkdir()
    table = '[[attacker]]\nname = "NAME"\nmethod = "NAME"\n'
    two = "\n".join(table.replace("NAME", name) for name in ("ifgsm", "noise"))
    (cwd / "attacks" / "two.toml").write_text(f'summary = "two"\n{two}')
    made = run(
        "attack transfer --attackers two --surrogate n0 --eps 8/255 --limit 8 --make S",
        f"--model n1 --results {results}",
    )
    assert made.exit_code == 0, made.stderr
    assert len(folders(made)) == 1
    assert str(results / "sets" / "S") in made.stdout.splitlines()
    before = sorted(path.name for path in (results / "sets" / "S" / "adv").iterdir())
    used = run(f"attack transfer --use S --model n0 --model n1 --results {results}")
    assert used.exit_code == 0, used.stderr
    assert sorted(path.name for path in (results / "sets" / "S" / "adv").iterdir()) == before
    assert "white-box" in used.stderr, "n0 is the surrogate"
    shown = run(f"report --results {results}")
    assert "all-or-nothing" in shown.stdout.replace("\n", " ")


def test_the_doctors_failures_are_printed_and_repeated_in_the_report(results: Path) -> None:
    line = f"--model n0 --limit 20 --eps 1/255 --results {results}"
    assert run("attack pgd --iters 1", line).exit_code == 0
    result = run("doctor", line, "--expect-clean 100+-0.1")
    assert result.exit_code == 3, result.output
    assert "clean accuracy" in result.stdout
    shown = run(f"report --results {results}")
    assert "doctor: clean accuracy" in " ".join(shown.stdout.split())


def test_the_doctor_prints_what_it_examined_and_takes_a_sample(results: Path) -> None:
    line = f"doctor --model n0 --limit 20 --eps 0.05/255 --results {results}"
    result = run(line, "--sample random:1")
    assert result.exit_code in (0, 3), result.output
    about = "n0 on fashion-mini test, linf 0.05/255, 20 images (random:1)\n"
    assert result.stdout.startswith(about)
    assert "warning: eps 0.05/255 in linf is far smaller than the usual 8/255" in result.stderr
    refused = run(line, "--sample sorted")
    assert refused.exit_code == 2
    assert "no sample 'sorted'" in refused.stderr


_SMALL_DISK = """
import resource, signal, sys
from fdbench.commands import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
main(sys.argv[1:])
"""


def test_a_disk_too_full_for_images_is_named_and_no_row_is_written(results: Path) -> None:
    line = f"attack pgd --iters 1 --limit 8 --seed 5 --save-adv --model n0 --results {results}"
    child = subprocess.run(
        [sys.executable, "-c", _SMALL_DISK, *line.split()], capture_output=True, text=True
    )
    assert child.returncode == 1
    assert "can't write" in child.stderr
    assert ".safetensors" in child.stderr
    assert "Traceback" not in child.stderr
    again = run(line)
    assert "8 of 8 images to do" in again.stderr
    assert again.exit_code == 0
    (folder,) = folders(again)
    assert not [path for path in (folder / "adv").iterdir() if path.suffix != ".safetensors"]


def test_foolbox_attacks_are_listed_with_their_norms() -> None:
    result = run("list attacks --foolbox --json")
    rows = {row["attack"]: row for row in json.loads(result.stdout)}
    assert len(rows) > 30
    assert rows["L2CarliniWagnerAttack"]["norm"] == "l2"
