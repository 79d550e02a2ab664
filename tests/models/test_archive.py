"""TorchScript and torch.export files as networks."""

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Small, frozen
from torch import nn

from fdbench.errors import FdbenchError
from fdbench.machine import bytes_per_image
from fdbench.models.fast import accelerate
from fdbench.models.load import Model, open_model
from fdbench.store import Workspace
from fdbench.types import Batch

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")

OPEN_BATCH = ({0: torch.export.Dim("batch")},)


def script(net: nn.Module, path: Path) -> None:
    torch.jit.script(net).save(path)  # type: ignore[no-untyped-call]


def trace(net: nn.Module, path: Path) -> None:
    torch.jit.trace(net, torch.rand(2, 3, 8, 8)).save(path)  # type: ignore[no-untyped-call]


def freeze(net: nn.Module, path: Path) -> None:
    torch.jit.freeze(torch.jit.script(net)).save(path)


def export(net: nn.Module, path: Path, sizes: Any = OPEN_BATCH) -> None:
    example = (torch.rand(4, 3, 8, 8),)
    torch.export.save(torch.export.export(net, example, dynamic_shapes=sizes), path)


Writer = Callable[[nn.Module, Path], None]
WRITERS: list[tuple[Writer, str]] = [
    (script, "net.pt"), (trace, "net.ts"), (freeze, "net.pt"), (export, "net.pt2"),
]  # fmt: skip


def opened(ref: str | Path) -> Model:
    return open_model(str(ref), Workspace(Path("no-results")))


@pytest.fixture(params=WRITERS, ids=lambda param: param[0].__name__)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The reference of a file that holds Small."""
    write, name = request.param
    write(frozen(Small()), tmp_path / name)
    return f"{tmp_path}/{name}" + ("?trust=true" if write is export else "")


def test_a_file_with_its_code_is_a_network_with_gradients(stored: str, batch: Batch) -> None:
    net, original = opened(stored).net, frozen(Small())
    x, y = (batch.x.clone().requires_grad_() for _ in range(2))
    torch.testing.assert_close(net(x), original(y))
    (got,) = torch.autograd.grad(net(x).square().sum(), x)
    (wanted,) = torch.autograd.grad(original(y).square().sum(), y)
    torch.testing.assert_close(got, wanted)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_it_is_the_file_wherever_it_lies(stored: str, tmp_path: Path) -> None:
    model = opened(stored)
    path, _, query = stored.partition("?")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(path, other)
    moved = opened(f"{other / Path(path).name}" + (f"?{query}" if query else ""))
    assert (moved.weights, moved.name) == (model.weights, model.name)
    assert opened(model.ref).weights == model.weights


def test_a_recorded_reference_is_absolute(
    stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert opened(Path(stored).name).ref == stored


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_is_attacked_in_each_precision_or_says_why_not(
    precision: str, stored: str, batch: Batch
) -> None:
    net = opened(stored).net
    fast, why_not = accelerate(net, batch.x, precision)
    x = batch.x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(fast(x).square().sum(), x)
    assert grad.abs().sum() > 0
    refuses = precision == "bf16" and not list(net.parameters())  # frozen: constants in float32
    assert (why_not is not None) == refuses
    if why_not:
        assert why_not.startswith("attacked in float32: the network can't compute in bf16")
        torch.testing.assert_close(fast(batch.x), net(batch.x))


def test_half_precision_weights_are_converted(tmp_path: Path) -> None:
    script(frozen(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).half()), tmp_path / "half.pt")
    model = opened(tmp_path / "half.pt")
    assert model.warnings == ("weights were float16: evaluated in float32",)
    assert model.net(torch.rand(1, 3, 2, 2)).dtype == torch.float32


class Evil:
    """Makes a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("entry", ["data.pkl", "constants.pkl"])
def test_opening_torchscript_unpickles_no_python_objects(entry: str, tmp_path: Path) -> None:
    script(frozen(Small()), tmp_path / "net.pt")
    with (
        zipfile.ZipFile(tmp_path / "net.pt") as old,
        zipfile.ZipFile(tmp_path / "evil.pt", "w") as new,
    ):
        evil = pickle.dumps(Evil(tmp_path / "ran"), protocol=2)
        for name in old.namelist():
            new.writestr(name, evil if name == f"net/{entry}" else old.read(name))
    with pytest.raises(FdbenchError, match="is not a readable TorchScript file"):
        opened(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_a_torch_export_file_is_opened_only_if_it_is_trusted(tmp_path: Path) -> None:
    export(frozen(Small()), tmp_path / "net.pt2")
    with pytest.raises(FdbenchError, match=r"can run code from it.*\n.*net\.pt2\?trust=true'"):
        opened(tmp_path / "net.pt2")


def test_a_torch_export_file_in_training_mode_is_refused(tmp_path: Path) -> None:
    export(Small().train(), tmp_path / "net.pt2")
    with pytest.raises(FdbenchError, match=r"exported in training mode.*\n.*net\.eval"):
        opened(f"{tmp_path}/net.pt2?trust=true")


def test_a_torch_export_file_of_one_batch_size_is_refused(tmp_path: Path) -> None:
    export(frozen(Small()), tmp_path / "net.pt2", sizes=None)
    with pytest.raises(FdbenchError, match=r"batches of exactly 4\..*\n.*dynamic_shapes"):
        opened(f"{tmp_path}/net.pt2?trust=true")


def test_a_damaged_torch_export_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pt2", "w") as file:
        file.writestr("net/archive_format", "pt2")
    with pytest.raises(FdbenchError, match=r"is not a readable torch\.export file"):
        opened(f"{tmp_path}/net.pt2?trust=true")


def test_the_memory_that_it_needs_is_measured(stored: str, batch: Batch) -> None:
    eager = bytes_per_image(frozen(Small()), batch.x)
    assert 0.5 * eager < bytes_per_image(opened(stored).net, batch.x) < 2 * eager
