"""`fdbench train --nproc`: one error, from the process that has it, and nothing left running."""

import os
import signal
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fdbench.commands import main
from fdbench.errors import BadValue, FdbenchError
from fdbench.models.checkpoint import load_card
from fdbench.specs.model import ModelSpec
from fdbench.store.workspace import Workspace
from fdbench.training.processes import launch
from fdbench.training.start import DataSource, train_apart

# A process that does what its argument says for its rank; starts in a moment.
PLAYED = """
import json, os, signal, sys, time
def fail(code, text): print(text, file=sys.stderr); sys.exit(code)
role = json.loads(sys.argv[1])["roles"][int(os.environ["RANK"])]
exec(role)
"""


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "played.py").write_text(PLAYED)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "played"


def test_all_succeed(played: str, tmp_path: Path) -> None:
    done = tmp_path / "done"
    mine = f"open('{done}' + os.environ['RANK'] + os.environ['WORLD_SIZE'], 'w')"
    launch(2, played, {"roles": [mine, mine]})
    assert sorted(path.name for path in tmp_path.glob("done*")) == ["done02", "done12"]


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (
            ["time.sleep(60)", "fail(1, 'Error: no space')"],
            "process 1 of 2 failed: Error: no space",
        ),
        (["sys.exit(75)", "fail(2, 'Error: mine')"], "process 1 of 2 failed: Error: mine"),
        (["fail(75, 'lost')", "os.kill(os.getpid(), 9)"], "process 1 of 2 was ended by SIGKILL"),
        (["os.kill(os.getpid(), 9)", "time.sleep(60)"], "process 0 of 2 was ended by SIGKILL"),
    ],
)
def test_the_error_is_that_of_the_process_that_failed(
    played: str, roles: list[str], message: str
) -> None:
    began = time.monotonic()
    with pytest.raises(FdbenchError, match=message):
        launch(2, played, {"roles": roles})
    assert time.monotonic() - began < 40, "it does not wait for the others"


@pytest.mark.parametrize("first", ["fail(2, '')", "[time.sleep(0.5), fail(2, '')]"])
def test_the_first_processs_error_is_not_printed_twice(played: str, first: str) -> None:
    with pytest.raises(click.exceptions.Exit) as ended:
        launch(2, played, {"roles": [first, "fail(2, 'Error: the same')"]})
    assert ended.value.exit_code == 2


def test_no_process_outlives_the_error_of_another(played: str, tmp_path: Path) -> None:
    wait = f"open('{tmp_path}/pid', 'w').write(str(os.getpid())); time.sleep(60)"
    die = f"[time.sleep(0.05) for _ in range(200) if not os.path.exists('{tmp_path}/pid')]; exit(3)"
    with pytest.raises(FdbenchError, match="process 1 of 2 failed"):
        launch(2, played, {"roles": [wait, die]})
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_ctrl_c_in_a_process_is_ctrl_c_here(played: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        launch(2, played, {"roles": ["sys.exit(130)", "time.sleep(60)"]})
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_more_processes_than_gpus_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(BadValue, match="sees 2 GPUs here"):
        train_apart(
            3, ModelSpec("r20"), DataSource(), workspace=Workspace(tmp_path), device="auto",
            threads=None,
        )  # fmt: skip


def test_nproc_of_the_command_trains_in_two_processes(tmp_path: Path) -> None:
    words = "train --arch r20 --width 2 --epochs 1 --batch-size 2000 --attack-iters 1"
    more = f"--probe-iters 1 --nproc 2 --threads 1 --device cpu --results {tmp_path}"
    result = CliRunner().invoke(main, f"{words} {more}".split())
    assert result.exit_code == 0, result.output
    card = load_card(Path(result.stdout.strip()))[1]
    assert card.finished
    assert card.log[0]["processes"] == 2
