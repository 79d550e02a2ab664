"""A network that cuts the gradient is a finding, with the ways around it; never a traceback."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from conftest import Small, frozen
from torch import nn
from users import at_home

import fdbench
from fdbench.commands import cli
from fdbench.errors import NoGradient
from fdbench.types import Batch


class Cut(nn.Module):
    """Rounds its input through whole pixels, as JPEG in front of a network does."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner((255 * x).byte().float() / 255)
        return logits


def cut() -> nn.Module:
    return frozen(Cut(Small()))


Attack = Callable[[nn.Module, Batch], torch.Tensor]
BY_GRADIENT: dict[str, Attack] = {
    "pgd": lambda net, b: fdbench.pgd(net, b.x, b.label, eps=0.1, iters=2),
    "autoattack": lambda net, b: fdbench.autoattack(net, b.x, b.label, eps=0.1),
    "foolbox": lambda net, b: fdbench.foolbox(
        net, b.x, b.label, attack="LinfFastGradientAttack", eps=0.1
    ),
    "transfer": lambda net, b: fdbench.transfer([net], b.x, eps=0.1),
}


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_attacks_by_gradient_end_with_the_finding(name: str, batch: Batch) -> None:
    with pytest.raises(NoGradient, match="no gradient reaches the image"):
        BY_GRADIENT[name](cut(), batch)


def test_attacks_without_gradients_run(batch: Batch) -> None:
    net = cut()
    label = net(batch.x).argmax(1)
    adv = fdbench.autoattack(net, batch.x, label, eps=0.5, attacks=["square"])
    assert (net(adv).argmax(1) != label).any()


_NETS = """
from test_no_gradient import Cut
from conftest import frozen
from test_observation import NearestMean

def load():
    return frozen(Cut(NearestMean()))
"""


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return at_home(tmp_path, monkeypatch, _NETS)


def run(words: str) -> Result:
    line = f"{words} --model nets.py:load --data fashion-mini --eps 8/255 --limit 20"
    return CliRunner().invoke(cli.main, line.split())


@pytest.mark.usefixtures("cwd")
@pytest.mark.parametrize("words", ["attack pgd --iters 2", "attack autoattack", "eval --quick"])
def test_commands_end_with_exit_code_3_and_the_way_back(words: str) -> None:
    result = run(words)
    assert result.exit_code == 3, result.output
    assert "no gradient reaches the image" in result.stderr
    assert "--only square" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("cwd")
def test_square_alone_and_the_doctor_run() -> None:
    assert run("attack autoattack --only square").exit_code == 0
    result = run("doctor")
    assert result.exit_code == 3, result.output
    text = " ".join(result.stdout.split())
    assert "gradients fail no gradient reaches the image" in text
    assert text.count("skipped there is no gradient to attack with") >= 4
