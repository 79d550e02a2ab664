"""From a reference to a network: every form that --model takes."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from conftest import Small
from torch import nn

from fdbench import registry
from fdbench.errors import BadValue, FdbenchError
from fdbench.models import resnet
from fdbench.models.catalogue import OFFERED, denoise_choices
from fdbench.models.checkpoint import Card, save_card, weights_hash
from fdbench.models.defences.preprocessed import Preprocessed
from fdbench.models.load import hash_elsewhere, open_model
from fdbench.specs.model import ModelSpec
from fdbench.store import Workspace


def saved(results: Path, spec: ModelSpec, name: str = "mine") -> nn.Module:
    """A network with unusual weights, saved as `train` saves it."""
    net = resnet.build(spec)
    rng = torch.Generator().manual_seed(5)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=rng) / 9 + 0.1)
        else:
            tensor.fill_(17)  # batches seen
    state = net.state_dict()
    path = results / "checkpoints" / f"{name}.safetensors"
    save_card(path, state, Card(name, spec, weights=weights_hash(state)))
    return net.eval()


def tiny(**fields: object) -> ModelSpec:
    return ModelSpec(**{"arch": "r20", "width": 4, "classes": 3, "px": 16, **fields})  # type: ignore[arg-type]


# --- our own checkpoints


@pytest.fixture
def filled_with_nan() -> Iterator[None]:
    """Uninitialised memory reads as NaN, not as leftover values."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


SPECS = [tiny(denoise=name) for name in denoise_choices()]
SPECS += [
    tiny(arch="r26", denoise="nonlocal-gauss", px=96, padding="same-tf", order="bgr"),
    tiny(arch="r26", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
]


@pytest.mark.usefixtures("filled_with_nan")
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}-{spec.px}")
def test_what_is_loaded_is_what_was_saved(spec: ModelSpec, tmp_path: Path) -> None:
    assert torch.empty(1).isnan().all(), "this test detects unwritten memory"
    net = saved(tmp_path, spec)
    model = open_model("mine", Workspace(tmp_path))
    for tensors in (nn.Module.named_parameters, nn.Module.named_buffers):  # not only the state dict
        loaded = dict(tensors(model.net))
        assert loaded.keys() == dict(tensors(net)).keys()
        for name, tensor in tensors(net):
            assert torch.equal(loaded[name], tensor), name
    x = torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.net(x), net(x))
    assert model.weights == weights_hash(net.state_dict())


def test_a_loaded_network_is_frozen_and_in_inference_mode(tmp_path: Path) -> None:
    saved(tmp_path, tiny())
    net = open_model("mine", Workspace(tmp_path)).net
    assert not any(module.training for module in net.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert {tensor.device.type for tensor in net.buffers()} == {"cpu"}


def test_loading_draws_no_initial_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, tiny())

    def drawn(*_: object) -> None:
        pytest.fail("weights were drawn that the file overwrites")

    monkeypatch.setattr(resnet, "initialise", drawn)
    before = torch.get_rng_state()
    open_model("mine", Workspace(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    state = resnet.build(tiny()).state_dict()
    state["fc.extra"] = state.pop("fc.bias")
    card = Card("mine", tiny(), weights=weights_hash(state))
    save_card(tmp_path / "checkpoints" / "mine.safetensors", state, card)
    with pytest.raises(FdbenchError, match=r"missing fc\.bias\n  unexpected fc\.extra"):
        open_model("mine", Workspace(tmp_path))


def test_a_checkpoint_describes_its_preprocessing(tmp_path: Path) -> None:
    saved(tmp_path, tiny(order="bgr", std=(0.25, 0.5, 0.5)))
    assert open_model("mine", Workspace(tmp_path)).preprocessing == (
        "no resize, BGR, mean 0.5 0.5 0.5, std 0.25 0.5 0.5"
    )


# --- entry points


def offer(monkeypatch: pytest.MonkeyPatch, *entries: tuple[str, str]) -> None:
    """Pretends that installed packages offer these models."""

    def entry_points(*, group: str) -> list[EntryPoint]:
        offered = entries if group == OFFERED.group else ()
        return [EntryPoint(name, value, group) for name, value in offered]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.setattr(registry, "_offered", registry._offered.__wrapped__)


def raw() -> nn.Module:
    return Small()


def wrapped() -> nn.Module:
    return Preprocessed(Small(), 8, (0.5,) * 3, (0.25,) * 3)


def not_a_network() -> int:
    return 3


MODULE = "test_load"


def test_a_package_can_offer_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offer(monkeypatch, ("theirs", f"{MODULE}:wrapped"), ("another", f"{MODULE}:raw"))
    assert OFFERED.names == ("another", "theirs")
    model = open_model("theirs", Workspace(tmp_path))
    assert (model.name, model.ref, model.card) == ("theirs", "theirs", None)
    assert model.preprocessing.startswith("resize to 8x8 (bicubic")
    assert model.weights == hash_elsewhere(model.ref, wrapped())
    assert not model.net.training


def test_the_group_of_the_entry_points_is_fdbench_models() -> None:
    assert OFFERED.group == "fdbench.models"
    assert OFFERED.names == (), "fdbench itself offers none"


def test_weights_on_this_disk_come_before_a_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, ("mine", f"{MODULE}:raw"), ("r152", f"{MODULE}:raw"))
    saved(tmp_path, tiny())
    assert open_model("mine", Workspace(tmp_path)).card is not None
    with pytest.raises(FdbenchError, match="model 'r152' has no weights"):
        open_model("r152", Workspace(tmp_path))


def test_two_packages_may_not_offer_one_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, ("theirs", f"{MODULE}:raw"), ("theirs", f"{MODULE}:wrapped"))
    with pytest.raises(FdbenchError, match="two installed packages offer the model 'theirs'"):
        open_model("theirs", Workspace(tmp_path))
    offer(monkeypatch, ("theirs", f"{MODULE}:raw"), ("theirs", f"{MODULE}:raw"))
    assert open_model("theirs", Workspace(tmp_path)).name == "theirs", "one package, listed twice"


def test_a_misspelt_model_of_a_package_is_proposed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offer(monkeypatch, ("theirs", f"{MODULE}:raw"))
    with pytest.raises(BadValue, match=r"Did you mean 'theirs'\?(.|\n)*tv:NAME"):
        open_model("their", Workspace(tmp_path))


# --- functions and other forms


@pytest.mark.parametrize(
    ("function", "preprocessing"),
    [("raw", ""), ("wrapped", "resize to 8x8 (bicubic, antialias), mean")],
)
def test_a_function_describes_its_preprocessing_if_it_has_any(
    function: str, preprocessing: str, tmp_path: Path
) -> None:
    model = open_model(f"{MODULE}:{function}", Workspace(tmp_path))
    assert model.name == f"{MODULE}:{function}"
    assert model.preprocessing.startswith(preprocessing)
    assert bool(model.preprocessing) == bool(preprocessing)


def test_a_function_must_return_a_network(tmp_path: Path) -> None:
    with pytest.raises(FdbenchError, match=r"returned int, not a torch\.nn\.Module"):
        open_model(f"{MODULE}:not_a_network", Workspace(tmp_path))


def test_a_misspelt_function_is_proposed(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="Did you mean 'wrapped'"):
        open_model(f"{MODULE}:wraped", Workspace(tmp_path))


def test_a_module_is_imported_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_networks.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Flatten()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert isinstance(open_model("my_own_networks:make", Workspace(tmp_path)).net, nn.Flatten)


def test_a_module_that_lacks_an_import_shows_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_broken_networks.py").write_text("import no_such_package_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(FdbenchError, match=r"line 1, in <module>\n.*no_such_package") as caught:
        open_model("my_broken_networks:make", Workspace(tmp_path))
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize("ref", ["TV:resnet18", ":x", "x:", "tv:", "hf:"])
def test_an_unknown_form_is_refused_with_the_known_ones(ref: str, tmp_path: Path) -> None:
    with pytest.raises(
        BadValue, match=r"tv:NAME.*hf:OWNER/REPO, rb:DATA/.*defense:DIR or module:function"
    ):
        open_model(ref, Workspace(tmp_path))


def test_a_path_is_a_file_whatever_it_ends_in(tmp_path: Path) -> None:
    with pytest.raises(FdbenchError, match="no file"):
        open_model(f"{tmp_path}/mine", Workspace(tmp_path))


def test_torchvision_is_opened_by_its_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FdbenchError, match="tv:alexnet has no weights on this disk"):
        open_model("tv:alexnet", Workspace(tmp_path))


def test_other_code_around_the_same_parameters_is_another_network() -> None:
    net = wrapped()
    assert hash_elsewhere("mine:plain", net) != hash_elsewhere("mine:masked", net)
    assert hash_elsewhere("mine:plain", net) == hash_elsewhere("mine:plain", wrapped())


def test_what_a_function_prints_stays_off_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import torch\ndef net():\n    print('loaded')\n    return torch.nn.Flatten()\n"
    (tmp_path / "talkative.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    open_model("talkative:net", Workspace(tmp_path))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "loaded" in captured.err
