"""TorchScript and torch.export files: networks whose code is in the file."""

import hashlib
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fdbench.errors import FdbenchError
from fdbench.models.zoo.users_code import account

# The zip entries that tell PyTorch's files apart, as suffixes.
TORCHSCRIPT = "/constants.pkl"
EXPORTED = ("/archive_format", "serialized_exported_program.json")
TRUST = "trust=true"  # after the ? of a reference to a torch.export file


def archive_entries(path: Path) -> list[str]:
    """Returns the names in a zip file; none if it is not one."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):  # the last two: damaged
        return []


def is_torchscript(names: list[str]) -> bool:
    """Returns whether a zip file with these entries was written by `torch.jit.save`."""
    return any(name.endswith(TORCHSCRIPT) for name in names)


def is_exported(names: list[str]) -> bool:
    """Returns whether a zip file with these entries was written by `torch.export.save`."""
    return any(name.endswith(EXPORTED) for name in names)


class Archived(nn.Module):
    """A network from such a file: its code is fixed, and so is its mode."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return self.net(x)

    def train(self, mode: bool = True) -> "Archived":
        """Changes nothing below: the file's code has one mode, and some of it refuses another."""
        self.training = mode
        return self


def file_hash(path: Path) -> str:
    """Returns the sha256 of a file: of its code and weights."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_torchscript(path: Path) -> Archived:
    """Returns the network of a TorchScript file.

    Its pickles are read by PyTorch's C++ code, which makes TorchScript objects only, so opening one
    runs no Python; but TorchScript has operators that write files. Raises FdbenchError for a file
    that can't be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated: not our say
            net: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except RuntimeError as reason:
        raise FdbenchError(
            f"{path} is not a readable TorchScript file:\n{account(reason)}"
        ) from reason
    net.train(mode=False)
    return Archived(net)


def open_exported(path: Path, *, trusted: bool) -> Archived:
    """Returns the network of a torch.export file.

    PyTorch opens such files with an unrestricted unpickler, and evaluates expressions in them.
    Raises FdbenchError unless the user trusts it, and for one that can't be read.
    """
    if not trusted:
        raise FdbenchError(
            f"{path} is a torch.export file, and opening one can run code from it, as a pickle "
            "can.\n"
            f"If you trust whoever made it: --model '{path}?{TRUST}'"
        )
    try:
        program = torch.export.load(path)
    except (RuntimeError, ValueError, KeyError, AssertionError) as reason:
        raise FdbenchError(
            f"{path} is not a readable torch.export file of this PyTorch ({torch.__version__}):\n"
            f"{account(reason)}"
        ) from reason
    _check_program(program, path)
    return Archived(program.module())


def _check_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Raises FdbenchError for a program that computes something else on batches of other sizes."""
    signature = program.graph_signature
    if any(_trains(node) for node in program.graph.nodes):
        raise FdbenchError(
            f"{path} was exported in training mode: its answers depend on the batch.\n"
            "Export it again after net.eval()."
        )
    inputs = [node for node in program.graph.nodes if node.name in signature.user_inputs]
    if len(inputs) != 1:
        raise FdbenchError(f"{path} takes {len(inputs)} inputs, not one batch of images.")
    size = inputs[0].meta["val"].shape[0]
    if isinstance(size, int):
        raise FdbenchError(
            f"{path} takes batches of exactly {size}. Export it again with that size left open:\n"
            'torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))'
        )


def _trains(node: torch.fx.Node) -> bool:
    """Returns whether an operator is in training mode, as batch norm and dropout may be."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    names = [argument.name for argument in node.target._schema.arguments]
    given = {**dict(zip(names[: len(node.args)], node.args, strict=True)), **node.kwargs}
    return any(given.get(name) is True for name in ("training", "train"))
