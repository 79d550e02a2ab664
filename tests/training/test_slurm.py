"""The Slurm examples, run with stand-ins for the programs of Slurm: what would be started."""

import os
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from fdbench.commands import main

EXAMPLES = Path(__file__).parents[2] / "examples" / "slurm"
SCRIPTS = sorted(EXAMPLES.glob("*.sbatch"))
# Each prints what it was called with; srun runs what it is given, as Slurm does on each machine.
STUBS = {
    "scontrol": 'if [ "$1" = show ]; then printf "node7\\nnode8\\n"; else echo "scontrol $*"; fi',
    "srun": 'exec "$@"',
    "torchrun": 'echo "torchrun $*"; if [ -n "${WAIT:-}" ]; then sleep 30; fi',
    "fdbench": 'echo "fdbench $*"',
}
JOB = {
    "SLURM_JOB_ID": "41007",
    "SLURM_JOB_NODELIST": "node[7-8]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_GPUS_ON_NODE": "4",
}


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    """An environment as in a job, without Slurm."""
    for name, body in STUBS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    return {**os.environ, **JOB, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def started(script: str, words: str, job: dict[str, str]) -> list[str]:
    command = ["bash", str(EXAMPLES / script), *words.split()]
    done = subprocess.run(command, env=job, text=True, capture_output=True, check=True)
    return done.stdout.splitlines()


def test_a_training_starts_a_process_for_each_gpu_of_each_machine(job: dict[str, str]) -> None:
    (line,) = started("train.sbatch", "--arch r20 --recipe fast", job)
    words = line.split()
    given = {k: v for k, v in pairwise(words) if k.startswith("--")}
    assert given["--nnodes"] == "2"
    assert given["--nproc-per-node"] == "4"
    assert given["--rdzv-endpoint"] == "node7:21007"
    assert line.endswith("-m fdbench train --arch r20 --recipe fast")


def test_at_the_time_limit_a_training_is_queued_again(job: dict[str, str]) -> None:
    command = ["bash", str(EXAMPLES / "train.sbatch")]
    with subprocess.Popen(
        command, env={**job, "WAIT": "1"}, text=True, stdout=subprocess.PIPE
    ) as one:
        assert one.stdout
        assert one.stdout.readline().startswith("torchrun")
        one.terminate()
        assert one.stdout.readline() == "out of time: queued again\n"
        assert one.stdout.readline() == "scontrol requeue 41007\n"
        assert one.wait(20) == 0


def test_an_evaluation_shares_the_images_and_reports(job: dict[str, str]) -> None:
    lines = started("evaluate.sbatch", "pgd --iters 100", job)
    assert lines[0].endswith("--nproc-per-node 4 -m fdbench attack pgd --iters 100")
    assert lines[1] == "fdbench report"


def test_the_options_in_the_readme_exist() -> None:
    text = (EXAMPLES / "README.md").read_text().replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line.startswith("sbatch examples")]
    assert len(lines) == 2
    for words in lines:
        command = ["train"] if "train.sbatch" in words[1] else ["attack", words[2]]
        help_text = CliRunner().invoke(main, [*command, "--help"]).stdout
        for option in (word for word in words if word.startswith("--")):
            assert option in help_text


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_are_valid_and_ask_slurm_for_what_they_use(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text()
    for option in ("--nodes", "--gpus-per-node", "--time", "--requeue", "--output"):
        assert f"#SBATCH {option}" in text
