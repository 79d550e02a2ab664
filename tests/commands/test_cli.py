"""What a user at the prompt sees: exit codes, one clear message, nothing half-written."""

import json
import os
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fdbench import api
from fdbench.commands import main

TINY = "--arch r20 --width 2 --epochs 1 --batch-size 500 --attack-iters 1 --probe-iters 1"


def run(*words: str) -> Result:
    line = [part for word in words for part in word.split()]
    return CliRunner().invoke(main, line, prog_name="fdbench")


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with one tiny network in it."""
    results = tmp_path_factory.mktemp("trained")
    result = run("train", TINY, f"--results {results}")
    assert result.exit_code == 0, result.output
    return results


WRONG = {
    "unknown arch": ("train --arch r125", 2, "no arch 'r125'. Did you mean 'r152'?"),
    "unknown denoiser": ("train --arch r20 --denoise gaus", 2, "no denoiser 'gaus'"),
    "ablation of nothing": ("train --arch r20 --block no-1x1", 2, "--denoise"),
    "place for nothing": ("train --arch r20 --denoise-at all", 2, "needs a --denoise"),
    "unknown model": ("attack pgd --model r125-gauss", 2, "no model 'r125-gauss'"),
    "model without weights": ("attack pgd --model r152", 1, "Train it: fdbench train --arch r152"),
    "no model at all": ("attack pgd", 1, "Train one first: fdbench train"),
    "no such module": ("attack pgd --model nosuch:net", 2, "no module 'nosuch'"),
    "no such function": ("attack pgd --model json:net", 2, "no function in json 'net'"),
    "unknown data": ("train --arch r20 --data fashion", 2, "Did you mean 'fashion-mini'?"),
    "data not there": ("train --arch r20 --data cifar10 --data-dir .", 1, "--download"),
    "eps in pixels": ("attack pgd --eps 8", 2, "Did you mean --eps 8/255?"),
    "negative eps": ("attack pgd --eps=-1", 2, "is not a size"),
    "eps nan": ("attack pgd --eps nan", 2, "is not a size"),
    "zero eps": ("attack pgd --eps 0", 2, "greater than zero"),
    "alpha above the box": ("attack pgd --alpha 2", 2, "Did you mean --alpha 2/255?"),
    "no iterations": ("attack pgd --iters 0", 2, "--iters must be 1 or more"),
    "a part of an iteration": ("attack pgd --iters 10.5", 2, "not a whole number"),
    "a budget twice": ("attack pgd --iters 10,10", 2, "names a budget twice"),
    "restarts without noise": ("attack pgd --restarts 3 --clean-start", 2, "repeat themselves"),
    "no images": ("attack pgd --limit 0", 2, "0 is not in the range"),
    "unused option": ("train --arch r20 --clean --eps 8/255", 2, "--eps has nothing to act on"),
    "unknown option": ("attack pgd --iter 10", 2, "No such option '--iter'"),
    "unknown battery": ("attack suite whitbox", 2, "Did you mean 'whitebox'?"),
    "a name that is a path": ("train --arch r20 --name ../x", 2, "plain file name"),
    "labels smoothed away": ("train --arch r20 --label-smoothing 2", 2, "is not in [0, 1]"),
    "nothing to report": ("report", 1, "fdbench attack pgd"),
    "no file": ("attack pgd --model ./no.safetensors", 1, "no file no.safetensors"),
    "norm without sizes": ("train --arch r20 --norm l2", 2, "Usual: --norm l2 --eps 0.5 at 32 px"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_input_gets_one_clear_message_and_writes_nothing(cwd: Path, what: str) -> None:
    line, code, text = WRONG[what]
    result = run(line)
    stderr = " ".join(result.stderr.replace("│", " ").split())
    assert text in stderr
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert list(cwd.iterdir()) == []


def npz(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    np.savez(path, x=x, y=y)


def test_an_empty_folder_is_not_a_data_set(cwd: Path, trained: Path) -> None:
    (cwd / "empty").mkdir()
    result = run(f"attack pgd --model r20-w2 --results {trained} --data folder:empty")
    assert result.exit_code == 1
    assert "empty" in result.stderr


def test_a_corrupt_image_is_named(cwd: Path, trained: Path) -> None:
    for name in ("a", "b"):
        folder = cwd / "set" / name
        folder.mkdir(parents=True)
        Image.fromarray(np.zeros((28, 28, 3), np.uint8)).save(folder / "0.png")
    (cwd / "set" / "b" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    result = run(f"attack pgd --iters 1 --model r20-w2 --results {trained} --data folder:set")
    assert result.exit_code == 1
    assert "broken.png" in result.stderr


def test_labels_out_of_range_are_refused(cwd: Path, trained: Path) -> None:
    npz(cwd / "bad.npz", np.zeros((4, 28, 28, 3), np.uint8), np.array([0, 1, 2, -1]))
    result = run(f"attack pgd --model r20-w2 --results {trained} --data npz:bad.npz")
    assert result.exit_code == 1
    assert "-1" in result.stderr


def test_more_classes_than_the_network_knows_are_refused(cwd: Path, trained: Path) -> None:
    npz(cwd / "many.npz", np.zeros((4, 28, 28, 3), np.uint8), np.array([0, 1, 2, 11]))
    result = run(f"attack pgd --model r20-w2 --results {trained} --data npz:many.npz")
    assert result.exit_code == 2
    assert "knows 10 classes" in result.stderr


def test_a_truncated_checkpoint_is_refused(cwd: Path, trained: Path) -> None:
    whole = (trained / "checkpoints" / "r20-w2.safetensors").read_bytes()
    for size in (0, 5, 300, len(whole) - 1):
        (cwd / "cut.safetensors").write_bytes(whole[:size])
        result = run("attack pgd --model ./cut.safetensors")
        assert result.exit_code == 1
        assert "truncated or not a safetensors file" in result.stderr


def test_a_checkpoint_with_one_changed_weight_is_refused(cwd: Path, trained: Path) -> None:
    whole = bytearray((trained / "checkpoints" / "r20-w2.safetensors").read_bytes())
    whole[-5] ^= 1
    (cwd / "changed.safetensors").write_bytes(whole)
    result = run("attack pgd --model ./changed.safetensors")
    assert result.exit_code == 1
    assert "is not what was written" in result.stderr


def test_a_file_in_place_of_a_folder_gives_one_clear_message(cwd: Path) -> None:
    (cwd / "results").write_text("")
    result = run("train", TINY)
    assert result.exit_code == 2
    assert "results" in result.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder that even root can't write")
@pytest.mark.parametrize("words", [f"train {TINY}", "attack pgd --iters 1 --model MODEL"])
def test_a_read_only_results_folder_is_named_at_once(trained: Path, words: str) -> None:
    words = words.replace("MODEL", str(trained / "checkpoints" / "r20-w2.safetensors"))
    result = run(words, "--results /proc")
    assert result.exit_code == 1
    assert "can't write /proc/" in result.stderr
    assert "--results DIR" in result.stderr
    assert "epoch 1/1" not in result.stderr


_SMALL_DISK = """
import resource, signal, sys
from fdbench import api
from fdbench.commands import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
main(sys.argv[1:])
"""


def test_a_full_disk_is_named_and_no_row_is_half_written(trained: Path) -> None:
    words = f"attack pgd --iters 1 --limit 100 --seed 7 --model r20-w2 --results {trained}".split()
    child = subprocess.run(
        [sys.executable, "-c", _SMALL_DISK, *words], capture_output=True, text=True
    )
    assert child.returncode == 1
    assert "can't write" in child.stderr
    assert "rows-0.jsonl" in child.stderr
    assert "Traceback" not in child.stderr
    again = run(*words)
    assert "100 of 100 images to do" in again.stderr
    assert again.exit_code == 0


def folders(result: Result) -> list[Path]:
    """The run folders: the last lines of stdout."""
    paths = map(Path, reversed(result.stdout.splitlines()))
    return list(takewhile(lambda path: (path / "run.json").is_file(), paths))


def test_stdout_of_an_attack_ends_in_the_run_folders(trained: Path) -> None:
    result = run(f"attack pgd --iters 1,2 --limit 8 --results {trained}")
    assert result.exit_code == 0
    assert len(folders(result)) == 1
    assert "untargeted" in result.stderr


def test_an_attack_shows_its_results_and_json_carries_the_numbers(trained: Path) -> None:
    line = f"attack pgd --iters 1,2 --limit 8 --targeted --results {trained}"
    shown = run(line)
    (described,) = json.loads(run(line, "--json").stdout)
    first, last = described["results"]
    assert (first["iters"], last["iters"], last["n"]) == (1, 2, 8)
    lines = (folders(shown)[0] / "rows-0.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert last["robust"] == 100 * sum(row["pred"]["2"] == row["label"] for row in rows) / 8
    interval = f"{last['robust']:.1f} [{last['robust_low']:.1f}, {last['robust_high']:.1f}]"
    assert interval in shown.stdout
    assert "under a *targeted* attack; leaderboards mean untargeted" in shown.stderr


def test_strict_exits_3_where_the_sanity_gate_objects(trained: Path) -> None:
    line = f"attack pgd --iters 1 --eps 0.6 --limit 8 --results {trained}"
    assert run(line).exit_code == 0
    result = run(line, "--strict")
    assert result.exit_code == 3
    assert "far larger than the usual 8/255" in result.stderr
    assert len(folders(result)) == 1, "the results are printed all the same"


def test_training_in_processes_that_cannot_find_each_other_is_refused(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = run("train", TINY)
    assert result.exit_code == 2
    assert "no MASTER_ADDR" in result.stderr
    assert list(cwd.iterdir()) == []


def test_json_of_an_attack_can_be_parsed(trained: Path) -> None:
    result = run(f"attack pgd --iters 1 --limit 8 --json --results {trained}")
    (info,) = json.loads(result.stdout)
    assert info["attack"]["eps"] == 8 / 255
    assert info["model"]["name"] == "r20-w2"


def test_an_option_can_be_an_environment_variable(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FDBENCH_ATTACK_PGD_ITERS", "3")
    monkeypatch.setenv("FDBENCH_ATTACK_PGD_EPS", "4/255")
    result = run(f"attack pgd --limit 4 --json --results {trained}")
    (info,) = json.loads(result.stdout)
    assert info["attack"]["parameters"]["iters"] == [3]
    assert info["attack"]["eps"] == 4 / 255


def test_a_suite_runs_every_attack_of_the_users_battery(cwd: Path, trained: Path) -> None:
    (cwd / "attacks").mkdir()
    (cwd / "attacks" / "mine.toml").write_text(
        'summary = "two"\n[[attack]]\niters = [1]\neps = "2/255"\n'
        '[[attack]]\niters = [2]\neps = "4/255"\ntargeted = true\n'
    )
    result = run(f"attack suite mine --limit 4 --results {trained}")
    assert result.exit_code == 0
    assert len(folders(result)) == 2
    assert "mine" in run("list attacks").stdout


def test_a_users_function_is_a_model(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cwd / "mynet.py").write_text(
        "import torch\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 28 * 28, 10))\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    refused = run("attack pgd --iters 1 --limit 4 --model mynet:net")
    assert refused.exit_code == 2
    assert "--data fashion-mini, --data fashion-mnist.\n" in refused.stderr
    assert not (cwd / "results").exists()
    result = run("attack pgd --iters 1 --limit 4 --model mynet:net --data fashion-mini")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("what", ["models", "attacks", "data", "runs"])
def test_lists_are_tables_or_json(cwd: Path, trained: Path, what: str) -> None:
    words = f"list {what}" + (f" --results {trained}" if what in ("models", "runs") else "")
    assert run(words).exit_code == 0
    assert isinstance(json.loads(run(words, "--json").stdout), list)


def _interrupted(*args: object, **settings: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("line", "function"),
    [
        ("attack pgd", "attack_models"),
        ("attack transfer --use S --model V", "use_set"),
        ("doctor", "doctor_models"),
        ("train --arch r20", "train"),
        ("train-attacker --surrogate A", "train_attacker"),
        ("verify RUN", "run_folder"),
        ("report", "report"),
    ],
)
def test_ctrl_c_ends_a_long_command_with_how_to_continue(
    cwd: Path, monkeypatch: pytest.MonkeyPatch, line: str, function: str
) -> None:
    monkeypatch.setattr(api, function, _interrupted)
    result = run(line)
    assert result.exit_code == 130
    assert result.stderr == "stopped. Run the same command to continue.\n"


def test_help_does_not_load_torch() -> None:
    code = "import sys, fdbench.commands as c; c.main(['--help'], standalone_mode=False); "
    code += "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_help_takes_less_than_three_tenths_of_a_second() -> None:
    """In CPU time: wall time depends on what else is running. On a slow machine, three times what
    the libraries of the command line take by themselves; NumPy alone would double that.
    """

    def once(*words: str) -> float:
        child = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status
        assert status == 0
        return usage.ru_utime + usage.ru_stime

    libraries = "import importlib.metadata, click, rich.progress, rich.table"
    pairs = [(once("-m", "fdbench", "--help"), once("-c", libraries)) for _ in range(5)]
    ours, theirs = map(min, zip(*pairs, strict=True))
    assert ours < max(0.3, 3 * theirs)
