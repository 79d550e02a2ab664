"""Narrow networks in channels_last: oneDNN's AVX2 kernels may write beyond their buffers.

Each test runs in a child process, which such a kernel kills, limited to AVX2 on every processor.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMON = """
import torch
from torch import nn
torch.set_num_threads(1)
"""

TRAINING = """
from fdbench.models import build
from fdbench.specs import ModelSpec
for width in range(1, 9):
    spec = ModelSpec("r20", width=width, px=28, denoise={denoise!r}, block={block!r})
    net = build(spec).to(memory_format=torch.channels_last)
    for _ in range(2):
        net(torch.rand(16, 3, 28, 28)).square().sum().backward()
print("survived")
"""

ATTACK = """
from fdbench.models import Folded
conv = nn.Conv2d({inputs}, 8, 1, stride=2, bias=False)
net = nn.Sequential(nn.Conv2d(3, {inputs}, 1, bias=False), conv).eval()
x = torch.rand(8, 3, 28, 28)
fast = Folded(net, x).net
for _ in range(3):
    adv = x.clone().to(memory_format=torch.channels_last).requires_grad_()
    (grad,) = torch.autograd.grad(fast(adv).square().sum(), adv)
    wanted = x.clone().requires_grad_()
    (plain,) = torch.autograd.grad(net(wanted).square().sum(), wanted)
    torch.testing.assert_close(grad, plain)
print("survived")
"""

TRAIN_COMMAND = [
    *("-m", "fdbench", "train", "--arch", "r20", "--width", "4", "--epochs", "1"),
    *("--attack-iters", "1", "--name", "narrow", "--threads", "1"),
]


def child(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=env, text=True, capture_output=True, timeout=300)


@pytest.mark.parametrize(
    ("denoise", "block"),
    [("none", "full"), ("nonlocal-gauss", "full"), ("nonlocal-gauss", "no-residual")],
)
def test_training_steps_of_narrow_networks_survive(denoise: str, block: str) -> None:
    ran = child("-c", COMMON + TRAINING.format(denoise=denoise, block=block))
    assert (ran.returncode, ran.stdout) == (0, "survived\n"), ran.stderr


@pytest.mark.parametrize("inputs", [1, 4, 7])
def test_an_attack_on_a_narrow_strided_convolution_survives(inputs: int) -> None:
    ran = child("-c", COMMON + ATTACK.format(inputs=inputs))
    assert (ran.returncode, ran.stdout) == (0, "survived\n"), ran.stderr


@pytest.mark.slow
def test_a_narrow_network_is_trained_to_its_end(tmp_path: Path) -> None:
    ran = child(*TRAIN_COMMAND, "--results", str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "checkpoints" / "narrow.safetensors").is_file()
