"""Networks from the user's own code: a file or module, its attribute, and arguments."""

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fdbench.errors import BadValue, FdbenchError
from fdbench.models.checkpoint import weights_hash
from fdbench.models.load import Model, open_model
from fdbench.store import Workspace

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=2, classes=3):
        super().__init__()
        self.width = width
        self.fc = nn.Linear(3 * width, classes)

    def forward(self, x):
        return self.fc(nn.functional.adaptive_avg_pool2d(x, (1, self.width)).flatten(1))

def load(ckpt=None, width=2, **further):
    torch.manual_seed(0)
    net = Net(width)
    net.ckpt, net.further = ckpt, further
    return net

instance = load()
number = 3

def needs(ckpt, *, classes):
    return Net()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with net.py, which is not the working directory."""
    folder, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (folder / "net.py").write_text(NET)
    monkeypatch.chdir(elsewhere)
    return folder


def opened(ref: str) -> Model:
    return open_model(ref, Workspace(Path("no-results")))


def refused(ref: str) -> str:
    with pytest.raises(FdbenchError) as caught:
        opened(ref)
    return caught.value.message


# --- which network a reference names


def test_a_file_is_one_network_however_it_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute = opened(f"{home}/net.py:load")
    monkeypatch.chdir(home)
    for ref in ("net.py:load", "./net.py:load", "../home/net.py:load"):
        model = opened(ref)
        assert (model.ref, model.weights) == (absolute.ref, absolute.weights)
    assert absolute.ref == f"{home}/net.py:load"
    assert absolute.name == "net.py:load"


def test_a_recorded_reference_opens_the_same_network_in_another_folder(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "best.pt").write_text("")
    monkeypatch.chdir(home)
    model = opened("net.py:load?width=4&ckpt=best.pt&note=a+b%26c")
    monkeypatch.chdir(tmp_path)
    again = opened(model.ref)
    assert (again.ref, again.weights, again.name) == (model.ref, model.weights, model.name)
    assert again.net.further == model.net.further == {"note": "a+b&c"}
    assert again.net.ckpt == str(home / "best.pt")


def test_a_folder_that_moves_holds_the_same_network(home: Path, tmp_path: Path) -> None:
    (home / "best.pt").write_text("")
    model = opened(f"{home}/net.py:load?ckpt=best.pt")
    home.rename(tmp_path / "moved")
    moved = opened(f"{tmp_path}/moved/net.py:load?ckpt=best.pt")
    assert (moved.weights, moved.name) == (model.weights, model.name)
    assert moved.ref != model.ref


def test_the_name_of_a_network_has_no_folders(home: Path) -> None:
    (home / "best.pt").write_text("")
    model = opened(f"{home}/net.py:load?ckpt={home}/best.pt&width=4")
    assert model.name == "net.py:load?ckpt=best.pt&width=4"


def test_a_module_keeps_its_identity(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(home)
    model = opened("net:instance")
    assert model.ref == model.name == "net:instance"
    # As it was before references took arguments: earlier runs must be found again.
    text = f"net:instance\n{weights_hash(model.net.state_dict())}"
    assert model.weights == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("attribute", ["load", "instance", "Net"])
def test_a_function_a_class_and_a_network_are_taken(attribute: str, home: Path) -> None:
    net = opened(f"{home}/net.py:{attribute}").net
    assert not net.training
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16", 16), ("-1", -1), ("0.5", 0.5), ("1e-3", 1e-3), ("true", True), ("False", False),
        ("small", "small"), ("", ""), ("a=b", "a=b"), ("r%C3%A9s", "rés"), ("none.pt", "none.pt"),
    ],
)  # fmt: skip
def test_arguments_are_numbers_booleans_or_text(text: str, value: object, home: Path) -> None:
    further: Any = opened(f"{home}/net.py:load?some={text}").net.further
    given = further["some"]
    assert (given, type(given)) == (value, type(value))


def test_a_file_beside_the_loader_is_found_from_any_folder(home: Path) -> None:
    (home / "best.pt").write_text("")
    assert opened(f"{home}/net.py:load?ckpt=best.pt").net.ckpt == str(home / "best.pt")


def test_a_module_takes_arguments_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(home)
    assert opened("net:load?width=4").net.width == 4


def test_other_arguments_are_another_network(home: Path) -> None:
    first, second = (opened(f"{home}/net.py:load?some={value}") for value in ("a", "b"))
    assert first.weights != second.weights


# --- modules beside the file


def test_each_file_imports_its_own_neighbours(tmp_path: Path) -> None:
    for name, classes in (("one", 2), ("two", 5)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "parts.py").write_text(f"from torch import nn\nhead = nn.Linear(3, {classes})\n")
        (folder / "net.py").write_text("def load():\n    from parts import head\n    return head\n")
    sizes = [opened(f"{tmp_path}/{name}/net.py:load").net.out_features for name in ("one", "two")]
    assert sizes == [2, 5]


def test_a_module_in_the_working_directory_comes_before_one_of_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name, classes in (("one", 2), ("two", 5)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "heads.py").write_text(f"from torch import nn\nhead = nn.Linear(3, {classes})\n")
        (folder / "net.py").write_text("from heads import head\n")
    assert opened(f"{tmp_path}/one/net.py:head").net.out_features == 2
    monkeypatch.chdir(tmp_path / "two")
    assert opened("heads:head").net.out_features == 5


def test_a_file_may_have_the_name_of_an_installed_package(tmp_path: Path) -> None:
    (tmp_path / "scipy.py").write_text("from torch import nn\nnet = nn.Flatten()\n")
    opened(f"{tmp_path}/scipy.py:net")
    import scipy

    assert "site-packages" in scipy.__file__


# --- what goes wrong


def test_a_failing_loader_shows_the_users_lines_alone(home: Path) -> None:
    (home / "bad.py").write_text(
        "import torch\n\ndef load():\n    return inner()\n\n"
        "def inner():\n    torch.nn.Linear(2, 2).load_state_dict({})\n"
    )
    with pytest.raises(FdbenchError) as caught:
        opened(f"{home}/bad.py:load")
    message = caught.value.message
    assert f'File "{home}/bad.py", line 4, in load\n    return inner()' in message
    assert "line 7, in inner" in message
    assert "RuntimeError: Error(s) in loading state_dict for Linear" in message
    assert message.count("File ") == 2
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("import no_such_package", "line 1, in <module>\n    import no_such_package"),
        ("def load(:\n", "SyntaxError"),
        ("import argparse\nargparse.ArgumentParser().parse_args(['--x'])", "SystemExit: 2"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_that_fails_shows_the_line(code: str, shown: str, home: Path) -> None:
    (home / "bad.py").write_text(code)
    message = refused(f"{home}/bad.py:load")
    assert message.startswith(f"running {home}/bad.py failed")
    assert shown in message


@pytest.mark.parametrize(
    ("returned", "shown"),
    [
        ("None", r"returned NoneType, not a torch.nn.Module.\nDoes its last line say `return net`"),
        ("{'state_dict': 1}", "returned a dict with the keys 'state_dict'.*load_state_dict"),
        ("(torch.nn.Flatten(), 1)", r"a tuple of 2 \(Flatten, int\).*Return .* its entry 0"),
    ],
)
def test_anything_but_a_network_is_refused_with_the_remedy(
    returned: str, shown: str, home: Path
) -> None:
    (home / "bad.py").write_text(f"import torch\ndef load():\n    return {returned}\n")
    with pytest.raises(FdbenchError, match=f"(?s){shown}"):
        opened(f"{home}/bad.py:load")


@pytest.mark.parametrize(
    ("rest", "shown"),
    [
        ("needs", "net.py:needs?ckpt=VALUE&classes=VALUE'"),
        ("needs?ckpt=a", "missing a required argument: 'classes'"),
        ("Net?depth=3", "got an unexpected keyword argument 'depth'"),
        ("instance?width=3", "a network takes no arguments"),
        ("lod", "Did you mean 'load'?"),
        ("number", "is int, neither a torch.nn.Module nor a function"),
        ("load?width", "'width' is not an argument"),
        ("load?width=1&width=2", "'width=2' is not an argument"),
        ("load?", "net.py:load"),
    ],
)
def test_wrong_attributes_and_arguments_are_refused(rest: str, shown: str, home: Path) -> None:
    if rest == "load?":  # no arguments after all
        assert opened(f"{home}/net.py:load?").ref.endswith(shown)
        return
    with pytest.raises(FdbenchError) as caught:
        opened(f"{home}/net.py:{rest}")
    assert shown in caught.value.message


def test_a_file_alone_lists_what_to_type_without_running_it(home: Path) -> None:
    (home / "net.py").write_text(NET + "\nraise SystemExit\n")
    message = refused(f"{home}/net.py")
    for rest in ("Net", "load", "needs?ckpt=VALUE&classes=VALUE"):
        assert f"--model '{home}/net.py:{rest}'\n" in f"{message}\n"
    assert "Delete" not in message


def test_a_file_that_is_not_there_brings_the_nearest(home: Path) -> None:
    assert "Did you mean 'net.py'?" in refused(f"{home}/nett.py:load")
    (home / "Best.pt").write_text("")
    assert "Did you mean 'Best.pt'?" in refused(f"{home}/best.pt")
    assert "there is no folder" in refused(f"{home}/no/best.pt")


@pytest.mark.parametrize(
    ("ref", "near"),
    [
        ("R20-nonlocal-GAUSS", "'r20-nonlocal-gauss'"),
        ("resnet50", "'tv:resnet50'"),
        ("ResNet50", "'tv:resnet50'"),
        ("TV:resnet18", "'tv:resnet18'"),
        ("resnet50:DEFAULT", "'tv:resnet50'"),
    ],
)
def test_a_name_of_elsewhere_or_in_other_case_is_proposed(ref: str, near: str) -> None:
    with pytest.raises(BadValue, match=f"Did you mean {near}"):
        opened(ref)


def test_a_name_of_timm_is_proposed_where_timm_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timm = SimpleNamespace(list_pretrained=lambda: ["resnet50.a1_in1k", "vit_tiny.x"])
    monkeypatch.setitem(sys.modules, "timm", timm)
    with pytest.raises(BadValue, match="Did you mean 'tv:resnet50' or 'timm:resnet50'"):
        opened("resnet50")
    with pytest.raises(BadValue, match="Did you mean 'timm:vit_tiny'"):
        opened("ViT_tiny")


# --- precision


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_of_other_precision_are_evaluated_in_float32(dtype: str, home: Path) -> None:
    (home / "half.py").write_text(
        "import torch\n"
        "def load():\n"
        "    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))\n"
        f"    return net.to(torch.{dtype})\n"
    )
    model = opened(f"{home}/half.py:load")
    assert model.warnings == (f"weights were {dtype}: evaluated in float32",)
    assert model.net(torch.rand(1, 3, 2, 2)).dtype == torch.float32


def test_weights_in_float32_bring_no_warning(home: Path) -> None:
    assert opened(f"{home}/net.py:load").warnings == ()
