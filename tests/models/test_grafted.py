"""Denoising blocks in networks of other packages: where they fit, and what they change."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fdbench import api
from fdbench.errors import BadValue, FdbenchError
from fdbench.models import Folded, build, load_card
from fdbench.models.grafted import Grafted, block_parameters, build_foreign, start_from
from fdbench.models.load import open_model
from fdbench.models.zoo.torchvision import torchvision_network
from fdbench.specs import ModelSpec
from fdbench.store import Workspace

NETS = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.stage1 = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.shared = nn.ReLU()
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(12, classes)
    def forward(self, x):
        x = self.shared(self.stage2(self.shared(self.stage1(self.stem(x)))))
        return self.fc(self.drop(x.mean((2, 3))))
class Iterates(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        self.fc = nn.Linear(8, 10)
    def forward(self, x):
        y = self.blocks(x)
        assert len(self.blocks) == 2
        return self.fc(y.mean((2, 3)))
def trained():
    torch.manual_seed(7)
    return Net()
"""


@pytest.fixture
def ref(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return "nets.py:Net"


def images(px: int) -> Tensor:
    return torch.rand((2, 3, px, px), generator=torch.Generator().manual_seed(0))


def parameters(net: nn.Module) -> int:
    return sum(one.numel() for one in net.parameters())


@pytest.mark.parametrize("kind", ["nonlocal-gauss", "bilateral-dot", "median"])
@pytest.mark.parametrize("at", ["layer1,layer2", "layer1.0,layer1,layer4.1"])
def test_a_network_with_new_blocks_computes_what_it_computed(kind: str, at: str) -> None:
    plain = ModelSpec("tv:resnet18", classes=10, px=64)
    spec = ModelSpec("tv:resnet18", kind, at, classes=10, px=64)
    one, other = build_foreign(plain).eval(), build_foreign(spec).eval()
    assert torch.equal(one(images(64)), other(images(64)))
    channels = {"layer1": 64, "layer2": 128, "layer1.0": 64, "layer4.1": 512}
    added = sum(block_parameters(kind, channels[name]) for name in at.split(","))
    assert parameters(other) == parameters(one) + added


def test_a_block_has_the_parameters_of_the_papers() -> None:
    # Two embeddings to half the channels, a 1x1 convolution, gamma and beta (Fig. 4, Sec. 4).
    assert block_parameters("nonlocal-gauss", 256) == 2 * 256 * 128 + 256 * 256 + 2 * 256
    assert block_parameters("mean", 256) == 256 * 256 + 2 * 256


def test_a_block_denoises_once_its_gamma_is_not_zero() -> None:
    spec = ModelSpec("tv:resnet18", "mean", "layer1", classes=10, px=32)
    net = build_foreign(spec).eval()
    before = net(images(32))
    block = net.get_submodule("net.layer1.denoise")
    nn.init.ones_(block.get_parameter("bn.weight"))
    assert not torch.allclose(net(images(32)), before)


def test_places_are_modules_called_once_with_a_map_of_features(ref: str) -> None:
    rows = api.layers(ref, px=32)
    assert {row["layer"]: row["output"] for row in rows if row["whole"]} == {
        "stage1": "8 x 16 x 16", "stage2": "12 x 8 x 8",
    }  # fmt: skip
    assert "shared" not in {row["layer"] for row in rows}, "called twice: one block for two places"
    assert next(row["block"] for row in rows if row["layer"] == "stage2") == 2 * 72 + 144 + 24


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("stages", "where in nets.py:Net"),
        ("stage3", "Did you mean 'stage2'"),
        ("fc", "no place for a block in nets.py:Net 'fc'"),
        ("stage1,stage1", "names a module twice"),
    ],
)
def test_a_wrong_place_is_refused_with_the_right_ones(at: str, message: str, ref: str) -> None:
    with pytest.raises(BadValue, match=message):
        build(ModelSpec(ref, "mean", at, classes=10, px=32))


def test_a_module_that_its_network_looks_into_is_refused(ref: str) -> None:
    with pytest.raises(FdbenchError, match="has no len"):
        build(ModelSpec("nets.py:Iterates", "mean", "blocks", classes=10, px=32))


def test_the_fast_copy_of_a_grafted_network_is_the_same_function(ref: str) -> None:
    net = build(ModelSpec(ref, "nonlocal-gauss", "stage1,stage2", classes=10, px=32)).eval()
    for module in net.modules():
        if isinstance(module, Grafted):
            nn.init.constant_(module.denoise.bn.weight, 0.3)
    fast = Folded(net, images(32)).net
    torch.testing.assert_close(fast(images(32)), net(images(32)), rtol=1e-4, atol=1e-5)


def test_only_a_new_head_may_differ_from_the_weights_it_starts_from() -> None:
    trained = torchvision_network("shufflenet_v2_x0_5", 1000)
    net = torchvision_network("shufflenet_v2_x0_5", 10)
    assert start_from(net, trained.state_dict(), "it") == ["fc.weight", "fc.bias"]
    assert torch.equal(net.state_dict()["conv1.0.weight"], trained.state_dict()["conv1.0.weight"])
    state = trained.state_dict()
    del state["conv1.0.weight"]
    with pytest.raises(FdbenchError, match="differs from its own architecture"):
        start_from(net, state, "it")


@pytest.mark.parametrize("nproc", [1, 2])
def test_fine_tuning_starts_from_the_given_weights_and_its_checkpoint_opens_again(
    ref: str, tmp_path: Path, nproc: int
) -> None:
    shape = ModelSpec(ref, "nonlocal-gauss", "stage1", classes=10, px=28)
    path = api.train(
        shape, "fashion-mini", model="nets.py:trained", lr=1e-30, weight_decay=0.0,
        results=tmp_path / "results", epochs=1, attack_iters=1, batch_size=1000, probe_iters=1,
        nproc=nproc, device="cpu", threads=1,
    )  # fmt: skip
    model = open_model(path.stem, Workspace(tmp_path / "results"))
    assert model.card is not None
    assert model.card.log[0].get("processes", 1) == nproc
    assert model.card.spec.denoise_at == "stage1"
    started = open_model("nets.py:trained", Workspace(tmp_path)).net
    tensors, _ = load_card(path)
    name = "net.stage1.body.0.weight"
    assert torch.equal(tensors[name], started.get_parameter("stage1.0.weight"))
    assert "net.stage1.denoise.operation.theta.weight" in tensors


def test_a_network_that_can_not_be_trained_here_is_refused(ref: str) -> None:
    with pytest.raises(BadValue, match="not both"):
        api.train("r20", model="nets.py:trained")
    with pytest.raises(BadValue, match="what network"):
        api.train()
