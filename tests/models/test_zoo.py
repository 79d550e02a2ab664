"""Networks from elsewhere: their preprocessing, their weights, and what is refused."""

import copy
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fdbench.errors import BadValue, FdbenchError
from fdbench.models.checkpoint import weights_hash
from fdbench.models.defences.preprocessed import INTERPOLATIONS, Preprocessed
from fdbench.models.load import open_model
from fdbench.models.zoo.timm import crop_of, from_timm
from fdbench.models.zoo.torchvision import from_torchvision
from fdbench.store import Workspace

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


# --- preprocessing


@pytest.mark.parametrize("kind", INTERPOLATIONS)
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(40, 40), (9, 9), (30, 50)])
def test_resizing_is_torchvisions_of_the_whole_image(
    kind: str, antialias: bool, size: tuple[int, int]
) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import normalize, resize

    x = images(2, 3, *size)
    net = Preprocessed(nn.Flatten(), 16, MEAN, STD, kind, antialias=antialias)
    theirs = resize(x, [16, 16], InterpolationMode(kind), antialias=antialias)
    torch.testing.assert_close(net(x), normalize(theirs, list(MEAN), list(STD)).flatten(1))


@pytest.mark.parametrize("size", [(40, 40), (30, 50), (61, 33), (16, 16)])
def test_a_crop_is_torchvisions(size: tuple[int, int]) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import center_crop, resize

    x = images(2, 3, *size)
    net = Preprocessed(nn.Flatten(), 16, interpolation="bilinear", crop_from=21)
    theirs = center_crop(resize(x, [21], InterpolationMode.BILINEAR, antialias=True), [16])
    wanted = x if size == (16, 16) else theirs  # what was cropped is not cropped again
    torch.testing.assert_close(net(x), wanted.flatten(1))
    assert net.description.startswith("resize to 21, central 16x16 (bilinear, antialias), mean")


def scaled(x: Tensor) -> Tensor:
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (x - mean) / std


@pytest.mark.parametrize("px", [16, None])
def test_an_image_of_the_right_size_is_only_scaled(px: int | None) -> None:
    x = images(2, 3, 16, 16)
    assert torch.equal(Preprocessed(nn.Flatten(), px, MEAN, STD)(x), scaled(x).flatten(1))


def test_pixels_can_be_scaled_by_127_and_128() -> None:
    x = images(1, 3, 8, 8)
    net = Preprocessed(nn.Flatten(), 8, (127 / 255,) * 3, (128 / 255,) * 3)
    torch.testing.assert_close(net(x), (x * 255 - 127).flatten(1) / 128)


@pytest.mark.parametrize("kind", INTERPOLATIONS)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_every_pixel_of_a_black_or_white_image_has_a_gradient(kind: str, level: float) -> None:
    x = torch.full((1, 3, 37, 37), level).requires_grad_()
    Preprocessed(nn.Flatten(), 24, MEAN, STD, kind)(x).sum().backward()
    assert x.grad is not None
    assert (x.grad > 0).all()


def test_the_gradient_is_that_of_the_function() -> None:
    net = Preprocessed(nn.Flatten(), 5, MEAN, STD).double()
    x = images(1, 3, 8, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(net, (x,))


def test_a_bf16_copy_takes_images_of_another_size(tiny_net: nn.Module) -> None:
    net = Preprocessed(tiny_net, 8, MEAN, STD)
    half = copy.deepcopy(net).to(torch.bfloat16)
    x = images(2, 3, 20, 20)
    low = x.to(torch.bfloat16).requires_grad_()
    logits = half(low)
    logits.sum().backward()
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), net(x), rtol=0.1, atol=0.1)
    assert low.grad is not None
    assert low.grad.abs().sum() > 0


def test_the_description_names_size_interpolation_and_scale() -> None:
    assert Preprocessed(nn.Identity(), 224, MEAN, STD).description == (
        "resize to 224x224 (bicubic, antialias), mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    )
    assert Preprocessed(nn.Identity(), None, MEAN, STD).description.startswith("no resize, mean")
    left_out = Preprocessed(nn.Identity(), mean=MEAN, std=STD)
    assert left_out.description == Preprocessed(nn.Identity(), None, MEAN, STD).description
    x = torch.rand((2, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    assert torch.equal(Preprocessed(nn.Flatten())(x), x.flatten(1)), "nothing given, nothing done"


def test_another_scale_is_another_network_by_its_hash() -> None:
    one, other = (Preprocessed(nn.Flatten(), 8, MEAN, std) for std in (STD, MEAN))
    assert weights_hash(one.state_dict()) != weights_hash(other.state_dict())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interpolation": "bicubik"}, "Did you mean 'bicubic'"),
        ({"px": 0}, "px must be 1 or more"),
        ({"crop_from": 7}, "crop_from must be px or more"),
        ({"px": None, "crop_from": 7}, "and px given"),
        ({"std": (0.2, 0.0, 0.2)}, "std above 0"),
        ({"std": (0.2, float("nan"), 0.2)}, "std above 0"),
        ({"mean": (0.5,)}, "three values"),
    ],
)
def test_invalid_preprocessing_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadValue, match=message):
        Preprocessed(nn.Identity(), **{"px": 8, "mean": MEAN, "std": STD, **settings})


# --- torchvision

NAME = "shufflenet_v2_x0_5"  # small, with batch norm: 1.4 million weights


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where torchvision keeps its weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An entry of torchvision's table whose file name a test may choose."""
    import torchvision

    entry = torchvision.models.get_model_weights(NAME)["IMAGENET1K_V1"]
    monkeypatch.setattr(entry.value, "url", entry.url)
    return entry


def store(hub: Path, weights: Any, content: object) -> Path:
    """Writes `content` as torchvision's file, named by its hash and listed in the table."""
    torch.save(content, hub / "new")
    digits = hashlib.sha256((hub / "new").read_bytes()).hexdigest()[:8]
    path = (hub / "new").rename(hub / f"made-up-{digits}.pth")
    weights.value.url = f"https://example.org/{path.name}"
    return path


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """The network of NAME with weights that no initialisation gives."""
    import torchvision

    net = torchvision.models.get_model(NAME, weights=None).eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(3)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=rng)
            tensor.copy_(noise + 0.5 if name.endswith("running_var") else (noise - 0.5) / 4)
    return net


def test_a_torchvision_network_computes_with_the_stored_weights(
    hub: Path, weights: Any, trained: nn.Module
) -> None:
    store(hub, weights, trained.state_dict())
    before = torch.get_rng_state()
    loaded = from_torchvision(NAME)
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.name == f"tv:{NAME}:IMAGENET1K_V1", "the default weights are named"
    assert "resize to 224x224 (bilinear, antialias), mean 0.485" in loaded.net.description
    state = loaded.net.net.state_dict()
    assert weights_hash(state) == weights_hash(trained.state_dict())
    x = images(2, 3, 224, 224)
    torch.testing.assert_close(loaded.net.eval()(x), trained(scaled(x)))
    assert "get_state_dict" not in vars(weights), "torchvision is unchanged"


@pytest.mark.parametrize("size", [(300, 260), (240, 240)])
def test_the_crop_of_torchvisions_weights_is_its_own_transform(
    size: tuple[int, int], hub: Path, weights: Any, trained: nn.Module
) -> None:
    store(hub, weights, trained.state_dict())
    model = open_model(f"tv:{NAME}#crop=source", Workspace(hub))
    assert "resize to 256, central 224x224" in model.preprocessing
    x = images(2, 3, *size)
    torch.testing.assert_close(model.net(x), trained(weights.transforms()(x)))
    plain = open_model(f"tv:{NAME}", Workspace(hub))
    assert isinstance(plain.net, Preprocessed)
    assert "resizes to 256" in plain.net.uncropped, "it is said where it is not done"
    assert isinstance(model.net, Preprocessed)
    assert model.net.uncropped == ""


def test_weights_may_be_named(hub: Path, weights: Any, trained: nn.Module) -> None:
    store(hub, weights, trained.state_dict())
    assert from_torchvision(f"{NAME}:IMAGENET1K_V1").name == f"tv:{NAME}:IMAGENET1K_V1"
    with pytest.raises(BadValue, match=f"no weights of tv:{NAME} 'IMAGENET1K_V2'"):
        from_torchvision(f"{NAME}:IMAGENET1K_V2")


def test_an_unknown_torchvision_network_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadValue, match=r"no torchvision model 'resnet15'\. Did you mean 'resnet1"):
        from_torchvision("resnet15")


def test_every_torchvision_classifier_names_its_file_and_downloads_nothing(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import models

    def no_network(*_: Any, **__: Any) -> None:
        pytest.fail("something was downloaded")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    tables = {name: models.get_model_weights(name) for name in models.list_models(module=models)}
    entries = [(name, entry) for name, table in tables.items() for entry in table]
    assert len(entries) > 100
    for name, entry in entries:
        transforms = entry.transforms()
        Preprocessed(
            nn.Identity(),
            transforms.crop_size[0],
            transforms.mean,
            transforms.std,
            transforms.interpolation.value,
        )
        ref = f"{name}:{entry.name}"
        message = "not a classifier" if ref == "vgg16:IMAGENET1K_FEATURES" else entry.url
        with pytest.raises(FdbenchError, match=message):
            from_torchvision(ref)
    assert not list(hub.iterdir())


def test_the_missing_file_is_named_with_its_path(hub: Path) -> None:
    with pytest.raises(FdbenchError) as caught:
        from_torchvision("resnet18")
    file = "resnet18-f37072fd.pth"
    assert f"curl --create-dirs -o '{hub / file}'" in caught.value.message
    assert f"https://download.pytorch.org/models/{file}" in caught.value.message


def test_a_damaged_file_is_refused(hub: Path, weights: Any, trained: nn.Module) -> None:
    path = store(hub, weights, trained.state_dict())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(FdbenchError, match=r"is damaged or cut short.*\nFetch it again: curl"):
        from_torchvision(NAME)


class Evil:
    """Makes a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_is_refused_whatever_its_name(
    hub: Path, weights: Any, tmp_path: Path
) -> None:
    store(hub, weights, {"conv1.0.weight": Evil(tmp_path / "ran")})
    with pytest.raises(FdbenchError, match="is not safe"):
        from_torchvision(NAME)
    assert not (tmp_path / "ran").exists()


# --- timm, faked: the package is not a dependency


class FakeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


class FakeHub(ModuleType):
    """The part of huggingface_hub that is used: the look-up in its local cache."""

    def __init__(self, files: dict[tuple[str, str], str]) -> None:
        super().__init__("huggingface_hub")
        self.files = files

    def try_to_load_from_cache(self, repo_id: str, filename: str) -> str | object | None:
        return self.files.get((repo_id, filename))


class FakeTimm(ModuleType):
    """The part of timm that is used, with one network, `tiny.a1`."""

    def __init__(self) -> None:
        super().__init__("timm")
        self.cfg: dict[str, Any] = {
            "architecture": "tiny", "tag": "a1", "hf_hub_id": "timm/tiny.a1",
            "hf_hub_filename": None, "num_classes": 4, "input_size": (3, 12, 12),
            "interpolation": "bilinear", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6),
            "crop_pct": 0.75, "crop_mode": "center",
        }  # fmt: skip
        self.arguments: dict[str, Any] = {}

    def is_model_pretrained(self, name: str) -> bool:
        return name in ("tiny", "tiny.a1")

    def list_pretrained(self) -> list[str]:
        return ["tiny.a1", "other.b2"]

    def get_pretrained_cfg(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(**self.cfg)

    def create_model(self, name: str, **arguments: Any) -> nn.Module:
        from safetensors.torch import load_file

        self.arguments = arguments
        net = FakeNet()
        net.load_state_dict(load_file(arguments["pretrained_cfg_overlay"]["file"]))
        return net


@pytest.fixture
def timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTimm:
    weights = {"fc.weight": torch.ones(4, 3), "fc.bias": torch.arange(4.0)}
    save_file(weights, tmp_path / "model.safetensors")
    cache = {("timm/tiny.a1", "model.safetensors"): str(tmp_path / "model.safetensors")}
    fake = FakeTimm()
    monkeypatch.setitem(sys.modules, "timm", fake)
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub(cache))
    return fake


@pytest.mark.parametrize("name", ["tiny", "tiny.a1"])
def test_a_timm_network_has_the_preprocessing_of_its_cfg(name: str, timm: FakeTimm) -> None:
    before = torch.get_rng_state()
    loaded = from_timm(name)
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.name == "timm:tiny.a1"
    assert loaded.net.description == (
        "resize to 12x12 (bilinear, antialias), mean 0.1 0.2 0.3, std 0.4 0.5 0.6"
    )
    x = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1).expand(1, 3, 20, 20)
    torch.testing.assert_close(loaded.net(x), torch.arange(4.0)[None], atol=1e-5, rtol=0)
    assert timm.arguments["pretrained"] is True
    overlay = timm.arguments["pretrained_cfg_overlay"]
    assert overlay["custom_load"] is False, "the Hub's file is not in the authors' own format"
    assert loaded.net.source_crop == 16


def test_timm_weights_come_from_the_local_cache_only(
    timm: FakeTimm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub({}))
    message = r"unasked.\nAdd --download, or fetch them: hf download timm/tiny.a1 model.safetensors"
    with pytest.raises(FdbenchError, match=message):
        from_timm("tiny")
    assert not timm.arguments


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"hf_hub_filename": "pytorch_model.bin"}, "other files can run code"),
        ({"hf_hub_id": None}, "no .safetensors on the Hugging Face Hub"),
        ({"num_classes": 0}, "is not a classifier"),
        ({"input_size": (1, 12, 12)}, "square RGB"),
        ({"input_size": (3, 12, 16)}, "square RGB"),
        ({"interpolation": "lanczos"}, "no interpolation 'lanczos'"),
    ],
)
def test_an_unsupported_timm_network_is_refused(
    cfg: dict[str, Any], message: str, timm: FakeTimm
) -> None:
    timm.cfg.update(cfg)
    with pytest.raises(FdbenchError, match=message):
        from_timm("tiny")


@pytest.mark.parametrize(("given", "proposed"), [("tiny.zz", "tiny.a1"), ("othr.b2", "other.b2")])
def test_an_unknown_timm_network_is_refused_with_the_nearest_weights(
    given: str, proposed: str, timm: FakeTimm
) -> None:
    with pytest.raises(BadValue, match=f"Allowed: {proposed}\\.\ntimm.list_pretrained"):
        from_timm(given)


@pytest.mark.parametrize("content", [b"cut short", None])
def test_a_timm_file_of_other_weights_is_refused(
    content: bytes | None, timm: FakeTimm, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    if content is None:
        save_file({"fc.weight": torch.ones(4, 3)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(FdbenchError, match=r"does not hold the weights of timm:tiny\.a1"):
        from_timm("tiny")


def test_without_timm_its_installation_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(FdbenchError, match=r"pip install 'fdbench\[timm\]'"):
        from_timm("resnet50")


def test_timms_crops_are_those_of_its_transforms() -> None:
    assert crop_of(224, 0.875, "center") == 256
    assert crop_of(288, 1.0, None) == 288
    assert crop_of(224, 0.9, "border") is None, "it pads"
    assert crop_of(224, None, "center") is None
