"""Features are read where they say, distances are those of a pencil, figures name the networks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from pandas import read_csv
from torch import nn

from fdbench.commands import main
from fdbench.errors import BadValue
from fdbench.evaluation.features import (
    distances,
    features,
    in_order,
    map_pairs,
    places_of,
    signs,
)
from fdbench.models.resnet import build
from fdbench.specs import ModelSpec

NETS = """
from fdbench.models.resnet import build
from fdbench.specs import ModelSpec
def plain():
    return build(ModelSpec("r20", width=4, px=28)).eval()
def denoised():
    return build(ModelSpec("r20", denoise="mean", width=4, px=28)).eval()
"""


def small(denoise: str = "none") -> nn.Module:
    return build(ModelSpec("r20", denoise=denoise, width=4, px=28)).eval()


class Doubling(nn.Module):
    """Two stages: x, and 2 x + 1."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Identity()
        self.layer2 = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.layer2.weight.copy_(2 * torch.eye(3).view(3, 3, 1, 1))
            self.layer2.bias.fill_(1.0)  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer2(self.layer1(x)).relu_().mean((2, 3))


def test_places_are_the_ends_of_stages_before_and_after_their_denoisers() -> None:
    assert list(places_of(small())) == ["stage 1", "stage 2", "stage 3"]
    assert list(places_of(small("mean")))[:3] == ["stage 1", "stage 1 denoised", "stage 2"]
    assert in_order([list(places_of(small())), list(places_of(small("mean")))])[-2:] == [
        "stage 3",
        "stage 3 denoised",
    ]
    with pytest.raises(BadValue, match="no stages that are known"):
        places_of(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)))


def test_distances_are_relative_per_image_and_from_before_later_layers_work_in_place() -> None:
    x = torch.full((2, 3, 4, 4), 0.5)
    other = x.clone()
    other[1] -= 0.25
    net = Doubling()
    found = distances(net, x, other, places_of(net))
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found[0], [0, 0.5], atol=1e-6)  # 0.25 / 0.5
    np.testing.assert_allclose(found[1], [0, 0.25], atol=1e-6)  # 0.5 / 2
    net.layer2.bias.data.fill_(-9.0)  # type: ignore[union-attr]
    assert features(net, x, places_of(net))["stage 2"].max() == -8, "not what relu_ made of it"
    assert not any(module._forward_hooks for module in net.modules())


def test_both_maps_of_a_stage_show_one_channel() -> None:
    x = torch.rand((2, 3, 28, 28), generator=torch.Generator().manual_seed(0))
    pairs = map_pairs(small("mean"), x, x, 2, None)
    assert [pair.place for pair in pairs] == ["stage 2", "stage 2 denoised"]
    assert len({pair.channel for pair in pairs}) == 1
    assert (pairs[0].clean == pairs[0].adv).all()
    with pytest.raises(BadValue, match="--stage 4"):
        map_pairs(small(), x, x, 4, None)
    with pytest.raises(BadValue, match=r"--channel 8: stage 2 has 0 \.\. 7"):
        map_pairs(small(), x, x, 2, 8)


def test_noise_has_the_attacks_size_and_stays_in_the_box() -> None:
    x = torch.full((1, 3, 4, 4), 0.5)
    x[:, 0] = 1.0
    noisy = signs(x, 8 / 255, 0)
    assert noisy.max() <= 1
    moved = (noisy - x)[:, 1:].abs()
    assert moved.min() == pytest.approx(8 / 255, abs=1e-6)
    assert moved.max() == pytest.approx(8 / 255, abs=1e-6)


def test_the_command_writes_maps_distances_and_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    command = "figures --model nets.py:plain --against nets.py:denoised --data fashion-mini"
    flags = "--limit 4 --rows 2 --iters 1 --eps 8/255 --threads 1"
    done = CliRunner().invoke(main, f"{command} {flags}".split())
    assert done.exit_code == 0, done.output
    (table,) = Path("results").glob("features-*.csv")
    numbers = read_csv(table)
    assert len(numbers) == 2 * (3 + 6), "attack and noise, three and six places"
    assert (numbers["quartile_1"] <= numbers["median"]).all()
    assert str(table) in done.stdout
    for what in ("maps", "distance"):
        (svg,) = Path("results").glob(f"features-*-{what}.svg")
        assert "<!-- stage 2" in svg.read_text()
        assert svg.with_suffix(".png").is_file()


def test_a_network_is_not_compared_with_itself(tmp_path: Path) -> None:
    command = ["figures", "--model", "r20", "--against", "r20", "--results", str(tmp_path)]
    done = CliRunner().invoke(main, command, standalone_mode=False)
    assert isinstance(done.exception, BadValue)
    assert "is the model itself" in done.exception.message
