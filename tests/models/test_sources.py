"""Networks of other zoos and bare weights: each source's own metadata, and no stranger's code."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fdbench.errors import BadValue, FdbenchError
from fdbench.models.defences.preprocessed import Preprocessed
from fdbench.models.load import Model, open_model
from fdbench.models.zoo.huggingface import from_hub
from fdbench.models.zoo.torchvision import from_torchvision, torchvision_network
from fdbench.specs.stated import Stated, split
from fdbench.store import Workspace

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETS = """
import torch
from torch import nn
class Net(nn.Sequential):
    def __init__(self, classes=4):
        super().__init__(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, classes))
def own(): return Net()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with nets.py."""
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(ref: str, folder: Path) -> Model:
    return open_model(ref, Workspace(folder / "results"))


def images(px: int = 8) -> Tensor:
    return torch.rand((2, 3, px, px), generator=torch.Generator().manual_seed(0))


def weights(classes: int = 4) -> dict[str, Tensor]:
    return {
        "2.weight": torch.arange(12.0 * classes).view(classes, 12),
        "2.bias": torch.ones(classes),
    }


def small() -> nn.Sequential:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4))
    net.load_state_dict(weights())
    return net


class Evil:
    """Makes a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


# --- what is stated after the #


@pytest.mark.parametrize(
    "stated",
    [
        Stated(),
        Stated(mean=MEAN, std=STD, px=32, order="bgr", range=255),
        Stated(px=32, crop=40),
        Stated(crop="source"),
        Stated(mean=(0.5,), factory="a b/net.py:load?ckpt=x&width=2"),
        Stated(arch="rb:cifar10/Linf/X", trust_pickle=True),
    ],
)
def test_what_is_stated_is_read_back_from_the_reference(stated: Stated) -> None:
    assert split(stated.added_to("net.py:load?ckpt=best.pt")) == (
        "net.py:load?ckpt=best.pt",
        stated,
    )


def test_a_file_may_have_a_hash_in_its_name() -> None:
    assert split("runs/#3/best.pt") == ("runs/#3/best.pt", Stated())


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("a.pt#maen=0.5", "Did you mean 'mean'"),
        ("a.pt#mean=x", "is not a number"),
        ("a.pt#mean=1,2", "or three"),
        ("a.pt#order=gbr", "no channel order 'gbr'"),
        ("a.pt#range=7", "is 1 or 255"),
        ("a.pt#px=-1", "is a whole number"),
        ("a.pt#crop=sauce", "nor source"),
        ("a.pt#crop=0", "is neither the side"),
        ("a.pt#arch=tv:x&factory=y:z", "give one of them"),
    ],
)
def test_a_wrong_statement_is_refused(ref: str, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        split(ref)


@pytest.mark.parametrize(
    ("fragment", "as_written"),
    [
        ("mean=0.5&std=0.25", lambda x: (x - 0.5) / 0.25),
        ("order=bgr", lambda x: x.flip(1)),
        ("range=255", lambda x: 255 * x),
        ("px=4", lambda x: nn.functional.interpolate(x, (4, 4), mode="bicubic", antialias=True)),
    ],
)
def test_a_network_gets_the_images_that_are_stated(
    fragment: str, as_written: Callable[[Tensor], Tensor], folder: Path
) -> None:
    save_file(weights(), folder / "w.safetensors")
    plain = opened("w.safetensors#factory=nets.py:Net&mean=0&std=1", folder)
    key = fragment.split("=")[0]
    rest = "" if key == "mean" else "&mean=0&std=1"
    model = opened(f"w.safetensors#factory=nets.py:Net&{fragment}{rest}", folder)
    torch.testing.assert_close(model.net(images()), plain.net(as_written(images())))
    assert model.weights != plain.weights, "another function of the image is another network"
    again = opened(model.ref, folder)
    assert (again.weights, again.preprocessing) == (model.weights, model.preprocessing)


def test_a_statement_replaces_what_a_network_says_of_itself(folder: Path) -> None:
    (folder / "own.py").write_text(
        NETS + "import fdbench\ndef wrapped(): return fdbench.Preprocessed(Net(), 8, (.5,)*3)\n"
    )
    model = opened("own.py:wrapped#std=0.5", folder)
    assert model.preprocessing == (
        "resize to 8x8 (bicubic, antialias), mean 0.5 0.5 0.5, std 0.5 0.5 0.5"
    )
    assert model.name == "own.py:wrapped#std=0.5,0.5,0.5"


@pytest.mark.parametrize(
    ("fragment", "message"),
    [
        ("crop=9", "give that too"),
        ("crop=5&px=6", "that is 6 here"),
        ("crop=source", "states no crop"),
    ],
)
def test_a_crop_that_does_not_fit_is_refused(fragment: str, message: str, folder: Path) -> None:
    save_file(weights(), folder / "w.safetensors")
    with pytest.raises(BadValue, match=message):
        opened(f"w.safetensors#factory=nets.py:Net&mean=0&std=1&{fragment}", folder)


def test_a_crop_is_printed_recorded_and_opened_again(folder: Path) -> None:
    save_file(weights(), folder / "w.safetensors")
    model = opened("w.safetensors#factory=nets.py:Net&mean=0&std=1&px=4&crop=6", folder)
    assert model.preprocessing.startswith("resize to 6, central 4x4")
    assert model.ref.endswith("&px=4&crop=6") or "crop=6" in model.ref
    again = opened(model.ref, folder)
    assert (again.weights, again.preprocessing) == (model.weights, model.preprocessing)
    resized = nn.functional.interpolate(images(), (6, 6), mode="bicubic", antialias=True)
    torch.testing.assert_close(model.net(images()), again.net(resized[:, :, 1:5, 1:5]))


# --- bare weights


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.th"])
def test_weights_alone_open_with_the_code_that_makes_their_network(name: str, folder: Path) -> None:
    wrapped = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights().items()}}
    if name.endswith("tensors"):
        save_file(weights(), folder / name)
    else:
        torch.save(wrapped, folder / name)
    model = opened(f"{name}#factory=nets.py:Net&mean=0&std=1", folder)
    torch.testing.assert_close(model.net(images()), small()(images()))
    assert model.name == name
    assert "sha256" in model.account
    assert ("of state_dict without 'module.'" in model.account) == (not name.endswith("tensors"))


def test_unknown_normalisation_is_asked_for(folder: Path) -> None:
    torch.save(weights(), folder / "w.pt")
    with pytest.raises(FdbenchError, match="does not say how its images were normalised"):
        opened("w.pt#factory=nets.py:Net", folder)


def test_weights_of_another_network_are_listed(folder: Path) -> None:
    torch.save({**weights(5), "3.bias": torch.ones(1)}, folder / "w.pt")
    with pytest.raises(FdbenchError, match=r"too much 3.bias\n.*2.weight is \(5, 12\), not"):
        opened("w.pt#factory=nets.py:Net&mean=0&std=1", folder)
    torch.save({"2.bias": torch.ones(4)}, folder / "w.pt")
    with pytest.raises(FdbenchError, match=r"missing 2\.weight"):
        opened("w.pt#factory=nets.py:Net&mean=0&std=1", folder)


def test_weights_open_with_an_architecture_of_torchvision(folder: Path) -> None:
    net = torchvision_network("squeezenet1_1", 7).eval()
    torch.save(net.state_dict(), folder / "w.pt")
    path = folder / "w.pt"
    with pytest.raises(BadValue, match="Did you mean 'tv:squeezenet1_1'"):
        opened(f"{path}#arch=squeezenet1_1&mean=0&std=1", folder)
    code = (
        "import torchvision\ndef made(): return torchvision.models.squeezenet1_1(num_classes=7)\n"
    )
    (folder / "squeeze.py").write_text(code)
    model = opened(f"{path}#factory=squeeze.py:made&mean=0&std=1", folder)
    torch.testing.assert_close(model.net(images(40)), net(images(40)))


def test_the_classes_of_an_architecture_are_those_of_the_file(folder: Path) -> None:
    net = torchvision_network("shufflenet_v2_x0_5", 7).eval()
    torch.save(net.state_dict(), folder / "w.pt")
    model = opened("w.pt#arch=tv:shufflenet_v2_x0_5&mean=0.5&std=0.5", folder)
    torch.testing.assert_close(model.net(images(40)), net((images(40) - 0.5) / 0.5))


def test_an_onnx_file_is_refused_with_the_reason(folder: Path) -> None:
    (folder / "net.onnx").write_bytes(b"")
    with pytest.raises(FdbenchError, match=r"no gradients(.|\n)*torch\.jit\.save"):
        opened("net.onnx", folder)


# --- the Hub


def test_a_transformers_classifier_has_the_preprocessing_of_its_repository(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=5
    )
    net = transformers.AutoModelForImageClassification.from_config(config).eval()
    repo = folder / "repo"
    net.save_pretrained(repo)
    with pytest.raises(FdbenchError, match="does not say how its images were prepared"):
        opened("hf:repo", folder)
    inputs = {"size": {"height": 40, "width": 40}, "resample": 3, "do_rescale": True}
    inputs |= {"image_mean": MEAN, "image_std": STD, "do_flip_channel_order": True}
    (repo / "preprocessor_config.json").write_text(json.dumps(inputs))
    model = opened("hf:repo", folder)
    assert model.preprocessing == (
        "resize to 40x40 (bicubic, antialias), mean 0.485 0.456 0.406, std 0.229 0.224 0.225, BGR"
    )
    x = images(40)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    torch.testing.assert_close(model.net(x), net((x.flip(1) - mean) / std).logits)


@pytest.mark.parametrize("architecture", ["test_efficientnet", "test_vit"])
def test_a_timm_repository_has_the_preprocessing_of_its_configuration(
    architecture: str, folder: Path
) -> None:
    timm = pytest.importorskip("timm")
    net = timm.create_model(architecture, pretrained=False, num_classes=6).eval()
    (folder / "repo").mkdir()
    save_file(net.state_dict(), folder / "repo" / "model.safetensors")
    px = 160
    cfg = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": [3, px, px]}
    table = {"architecture": architecture, "num_classes": 6, "pretrained_cfg": cfg}
    (folder / "repo" / "config.json").write_text(json.dumps(table))
    model = opened("hf:repo", folder)
    assert "mean 0.5 0.5 0.5, std 0.25 0.25 0.25" in model.preprocessing
    torch.testing.assert_close(model.net(images(px)), net((images(px) - 0.5) / 0.25))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "names no architecture"),
        ('{"model_type": "x", "auto_map": {"AutoModel": "m.py"}}', "needs Python code of its repo"),
    ],
)
def test_a_repository_that_is_no_classifier_is_refused(
    config: str, message: str, folder: Path
) -> None:
    if "model_type" in config:
        pytest.importorskip("transformers")
    (folder / "repo").mkdir()
    (folder / "repo" / "config.json").write_text(config)
    with pytest.raises(FdbenchError, match=message):
        opened("hf:repo", folder)


def test_a_repository_that_is_not_here_is_not_fetched_unasked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    class Hub:
        def try_to_load_from_cache(self, repo: str, name: str) -> None:
            asked.append("cache")

        def file_exists(self, repo: str, name: str) -> bool:
            asked.append("hub")
            raise OSError("no network")

    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub())
    with pytest.raises(FdbenchError, match="Add --download, or fetch it: hf download a/b"):
        from_hub("a/b")
    assert asked == ["cache"]
    with pytest.raises(FdbenchError, match="a/b can't be looked up"):
        open_model("hf:a/b", Workspace(Path("results")), download=True)


# --- RobustBench: a package of its layout, since its own pins old versions of others

ROBUSTBENCH = """
from enum import Enum
from torch import nn
import torch
class Data(Enum): cifar_10 = "cifar10"
class Threat(Enum): Linf = "Linf"
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4))
        self.register_buffer("mu", torch.full((1, 3, 1, 1), 0.5))
    def forward(self, x): return super().forward(x - self.mu)
model_dicts = {Data.cifar_10: {Threat.Linf: {
    "Wong2020Fast": {"model": Net, "gdrive_id": "x"},
    "Many": {"model": Net, "gdrive_id": ["x", "y"]},
}}}
"""


@pytest.fixture
def robustbench(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Such a package, whose own __init__ fails; returns where its weights belong."""
    package = folder / "site" / "robustbench"
    (package / "model_zoo").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('pkg_resources')")
    (package / "model_zoo" / "__init__.py").write_text(ROBUSTBENCH)
    monkeypatch.syspath_prepend(str(folder / "site"))
    monkeypatch.delitem(sys.modules, "robustbench.model_zoo", raising=False)
    path = folder / "models" / "cifar10" / "Linf" / "Wong2020Fast.pt"
    path.parent.mkdir(parents=True)
    yield path
    sys.modules.pop("robustbench.model_zoo", None)


def test_a_robustbench_network_normalises_by_itself(robustbench: Path, folder: Path) -> None:
    with pytest.raises(FdbenchError, match=r"models/cifar10/Linf/Wong2020Fast\.pt is missing"):
        opened("rb:cifar10/Linf/Wong2020Fast", folder)
    torch.save({"state_dict": {f"module.{k}": v for k, v in weights().items()}}, robustbench)
    model = opened("rb:cifar10/Linf/Wong2020Fast", folder)
    torch.testing.assert_close(model.net(images()), small()(images() - 0.5))
    elsewhere = robustbench.rename(folder / "w.pt")
    moved = opened(f"{elsewhere}#arch=rb:cifar10/Linf/Wong2020Fast", folder)
    torch.testing.assert_close(moved.net(images()), model.net(images()))


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("rb:Wong2020Fast", "is not rb:DATA/THREAT/NAME"),
        ("rb:cifar10/Linf/Wong2020", "Did you mean 'Wong2020Fast'"),
        ("rb:cifar10/L2/Wong2020Fast", "no threat of RobustBench 'L2'"),
        ("rb:cifar10/Linf/Many", "an ensemble of several files"),
    ],
)
def test_an_unknown_robustbench_network_is_refused(
    ref: str, message: str, robustbench: Path, folder: Path
) -> None:
    with pytest.raises(BadValue, match=message):
        opened(ref, folder)


def test_without_robustbench_its_installation_is_proposed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FdbenchError, match="pip install --no-deps robustbench"):
        opened("rb:cifar10/Linf/Wong2020Fast", folder)


# --- files that run code


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.th"])
@pytest.mark.parametrize("how", ["", "#factory=nets.py:Net&mean=0&std=1"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(
    name: str, how: str, folder: Path
) -> None:
    torch.save({**weights(), "extra": Evil(folder / "ran")}, folder / name)
    with pytest.raises(FdbenchError, match=r"opening it can run code(.|\n)*--trust-pickle"):
        opened(name + how, folder)
    assert not (folder / "ran").exists()


def test_a_pickle_in_a_hub_folder_does_not_run(folder: Path) -> None:
    pytest.importorskip("transformers")
    (folder / "repo").mkdir()
    torch.save({**weights(), "x": Evil(folder / "ran")}, folder / "repo" / "pytorch_model.bin")
    (folder / "repo" / "config.json").write_text('{"model_type": "resnet"}')
    inputs = {"size": 8, "image_mean": MEAN, "image_std": STD}
    (folder / "repo" / "preprocessor_config.json").write_text(json.dumps(inputs))
    with pytest.raises(FdbenchError, match="opening it can run code"):
        opened("hf:repo", folder)
    assert not (folder / "ran").exists()


def test_a_pickle_in_place_of_robustbenchs_weights_does_not_run(
    robustbench: Path, folder: Path
) -> None:
    torch.save({**weights(), "x": Evil(folder / "ran")}, robustbench)
    with pytest.raises(FdbenchError, match="opening it can run code"):
        opened("rb:cifar10/Linf/Wong2020Fast", folder)
    assert not (folder / "ran").exists()


def test_a_trusted_pickle_runs_and_that_is_recorded(folder: Path) -> None:
    torch.save({"net": small(), "x": Evil(folder / "ran")}, folder / "w.pt")
    model = opened("w.pt#trust-pickle=true&mean=0&std=1", folder)
    torch.testing.assert_close(model.net(images()), small()(images()))
    assert (folder / "ran").exists()
    assert model.warnings == ("opened w.pt with --trust-pickle: code in it may have run",)


def test_torchvisions_weights_are_fetched_with_consent_by_its_own_function(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(folder))
    fetched = []

    def fetch(url: str, path: str, **_: Any) -> None:
        fetched.append(url)
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(FdbenchError, match="Add --download"):
        from_torchvision("shufflenet_v2_x0_5")
    assert not fetched
    with pytest.raises(FdbenchError, match="can't be downloaded: OSError: no network"):
        open_model("tv:shufflenet_v2_x0_5", Workspace(folder), download=True)
    assert len(fetched) == 1


def test_what_a_source_says_can_be_overridden_and_is_recorded() -> None:
    net = Preprocessed(nn.Flatten(), 8, MEAN, STD, order="bgr", range=255)
    assert net.description.endswith(", BGR, times 255")
    x = images()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    torch.testing.assert_close(net(x), (255 * (x.flip(1) - mean) / std).flatten(1))
