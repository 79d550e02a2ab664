"""Files that hold weights without a network: an error with the loader to paste."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fdbench.errors import FdbenchError
from fdbench.models.load import open_model
from fdbench.store import Workspace

NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.append(nn.Linear(4, num_classes))
"""


def network() -> nn.Module:
    body = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*body, nn.Linear(4, 7))


def named(prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in network().state_dict().items()}


def refused(path: Path) -> str:
    with pytest.raises(FdbenchError) as caught:
        open_model(str(path), Workspace(Path("no-results")))
    assert "elete" not in caught.value.message
    return caught.value.message


WRITERS: dict[str, Callable[[Path], Any]] = {
    "best.pt": lambda path: torch.save(named(""), path),
    "old.pth": lambda path: torch.save(named(""), path, _use_new_zipfile_serialization=False),
    "ddp.model": lambda path: torch.save({"net": named("module."), "epoch": 3}, path),
    "pl.ckpt": lambda path: torch.save({"state_dict": named("model."), "loops": {"a": 1}}, path),
    "compiled.pt": lambda path: torch.save(named("_orig_mod.module."), path),
    "hf.bin": lambda path: torch.save(named(""), path),
    "deep": lambda path: torch.save({"a": {"b": named("")}}, path),
    "plain.safetensors": lambda path: save_file(named(""), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_loader_that_the_error_shows_opens_the_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "weights"
    folder.mkdir()
    WRITERS[name](folder / name)
    message = refused(folder / name)
    assert "holds 4 tensors" in message
    assert "7 rows" in message
    loader, command = re.search(
        r"\n\n(import .*?)\n\nThen type: --model '(.*?)'", message, re.S
    ).groups()  # type: ignore[union-attr]
    (tmp_path / "mynet.py").write_text(NET)
    (tmp_path / "loader.py").write_text(loader)
    model = open_model(command, Workspace(tmp_path))
    torch.testing.assert_close(
        list(model.net.state_dict().values())[-2:], list(torch_weights(folder / name))[-2:]
    )


def torch_weights(path: Path) -> list[Tensor]:
    """The tensors in a file, wherever in it they are."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return [load_file(path)[name] for name in named("")]
    content = torch.load(path, weights_only=True)
    while not all(isinstance(value, Tensor) for value in content.values()):
        content = next(value for value in content.values() if isinstance(value, dict) and value)
    return list(content.values())


class Whole(nn.Linear):
    """A network that is pickled as a whole."""


def test_a_pickled_network_is_not_opened_and_its_classes_are_named(tmp_path: Path) -> None:
    torch.save(Whole(2, 2), tmp_path / "whole.pt")
    message = refused(tmp_path / "whole.pt")
    assert "holds pickled Python objects (" in message
    assert "test_weights_only.Whole" in message
    assert "weights_only=False" in message
    assert "opening it can run code" in message


@pytest.mark.parametrize("name", ["cut.pt", "text.pth", "empty.ckpt", "cut.safetensors"])
def test_a_damaged_file_is_to_be_kept_until_there_is_another(name: str, tmp_path: Path) -> None:
    torch.save(named(""), tmp_path / name)
    if name == "cut.safetensors":
        save_file(named(""), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    cut = {"text.pth": b"hello", "empty.ckpt": b""}.get(name, whole[: len(whole) // 2])
    (tmp_path / name).write_bytes(cut)
    assert "keep this one until that worked" in refused(tmp_path / name)


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "log.pt")
    assert "holds a dict without any weights" in refused(tmp_path / "log.pt")
