"""The tests of devices on a pretended GPU, in processes of their own: PyTorch forgets no device."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

HERE = Path(__file__).parent
PARTS = (
    "verdicts and pgd",
    "verdicts and not pgd",
    "not verdicts and transfer",
    "not verdicts and not transfer",
)


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch has no devices written in Python",
)
@pytest.mark.parametrize("part", PARTS)
def test_what_runs_on_a_gpu_runs_on_a_pretended_one(part: str) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "gpu",
        "-k",
        part,
    ]
    done = subprocess.run(
        [*words, str(HERE / "test_device.py")],
        env={**env, "FDBENCH_TEST_DEVICE": "pretended"},
        cwd=HERE.parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout.splitlines()[-1]
